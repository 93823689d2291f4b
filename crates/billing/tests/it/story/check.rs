//! Reads a story and plays it: the only code here that knows how the rules are called.
//!
//! A line is a time, a command with its arguments, `->` and the answer. A line without a time says how things stand:
//! `balance available held debt`, `grant G available held consumed expired revoked repaid`, or `hold H status`.
//! `forget` lets the account drop what no later command needs.

use std::collections::BTreeMap;

use billing::ledger::{GrantTerms, HoldTerms, Outcome, post};
use billing::{Account, Amount, Command, GrantKind, Posted, Quantity, RateCard, Refusal, Seq, Time};

use crate::answer::{Answer, status_word};

/// Stories begin at this moment, so that a grant can also have begun before them.
const START: i64 = 1_000_000_000_000_000;

struct Stage {
    account: Account,
    names: BTreeMap<String, Seq>,
}

pub fn check(story: &str) {
    let mut stage = Stage { account: Account::default(), names: BTreeMap::new() };
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0].starts_with(|first: char| first.is_ascii_digit()) {
            let arrow = words.iter().position(|word| *word == "->").expect("a command line has an answer");
            let answer = stage.play(Time(START + span(words[0])), &words[1..arrow]);
            assert_eq!(answer, words[arrow + 1..].join(" "), "{line}");
        } else {
            let stands = stage.stands(&words);
            assert_eq!(stands, words.join(" "), "{line}");
        }
    }
}

impl Stage {
    /// Plays a command, or so many of the same: `times 500 grant …` answers with the last answer.
    fn play(&mut self, now: Time, words: &[&str]) -> String {
        if let ["times", times, command @ ..] = words {
            let last = (0..number(times)).map(|_| self.play(now, command)).last();
            return last.expect("at least once");
        }
        if let ["forget"] = words {
            self.account.forget_ended(|_| false);
            self.account.forget_spent(now);
            return "ok".to_owned();
        }
        let posted = self.command(now, words).and_then(|command| {
            let mut entries = Vec::new();
            post(&mut self.account, &command, now, &mut entries)
        });
        if let (Ok(Posted::Entry(seq)), ["grant" | "hold" | "charge" | "adjust", name, ..]) = (posted, words)
        {
            self.names.insert((*name).to_owned(), seq);
        }
        Answer::of(posted).to_string()
    }

    fn command(&self, now: Time, words: &[&str]) -> Result<Command, Refusal> {
        let seq = |name: &str| self.names.get(name).copied().unwrap_or(Seq(0));
        Ok(match *words {
            ["grant", _, credits, kind, ref terms @ ..] => Command::Grant(grant(now, credits, kind, terms)),
            ["revoke", grant] => Command::Revoke(seq(grant)),
            ["adjust", _, credits] => Command::Adjust(number(credits)),
            ["take_back", grant, credits] => {
                Command::TakeBack { grant: seq(grant), credits: amount(number(credits)) }
            }
            ["hold", _, units, ref terms @ ..] => Command::Hold(hold(units, terms)?),
            ["charge", _, units, ref terms @ ..] => Command::Charge(hold(units, terms)?),
            ["dispatch", hold, ref terms @ ..] => {
                Command::Dispatch { hold: seq(hold), epoch: option(terms, "epoch").map_or(0, number) }
            }
            ["extend", hold, time] => Command::Extend { hold: seq(hold), seconds: seconds(time) },
            ["doubt", hold] => Command::Doubt(seq(hold)),
            ["settle", hold, quantity, ref terms @ ..] => {
                let attempted = option(terms, "attempted").map(number);
                Command::Settle { hold: seq(hold), quantity: number(quantity), attempted }
            }
            ["release", hold] => Command::Release(seq(hold)),
            ["resolve", hold, "settled"] => Command::Resolve { hold: seq(hold), outcome: Outcome::Settled },
            ["resolve", hold, "released"] => Command::Resolve { hold: seq(hold), outcome: Outcome::Released },
            ["refund", hold, "all"] => Command::Refund { hold: seq(hold), quantity: None },
            ["refund", hold, units] => Command::Refund { hold: seq(hold), quantity: Some(number(units)) },
            ["sweep"] => Command::Sweep,
            _ => panic!("no such command: {words:?}"),
        })
    }

    /// The line as it should have been written.
    fn stands(&self, words: &[&str]) -> String {
        let account = &self.account;
        match *words {
            ["balance", ..] => format!("balance {} {} {}", account.available, account.held, account.debt),
            ["hold", name, ..] => {
                format!("hold {name} {}", status_word(account.holds[&self.names[name]].status))
            }
            ["grant", name, ..] => {
                let grant = &account.grants[&self.names[name]];
                let open = format!("{} {} {}", grant.available, grant.held, grant.consumed);
                format!("grant {name} {open} {} {} {}", grant.expired, grant.revoked, grant.repaid)
            }
            _ => panic!("no such fact: {words:?}"),
        }
    }
}

/// `kind from=… until=… priority=…`: times count from the start of the story, and `from=-2d` lies before it.
fn grant(now: Time, credits: &str, kind: &str, terms: &[&str]) -> GrantTerms {
    let moment = |text: &str| match text.strip_prefix('-') {
        Some(before) => Time(START - span(before)),
        None => Time(START + span(text)),
    };
    GrantTerms {
        credits: amount(number(credits)),
        kind: match kind {
            "promo" => GrantKind::Promo,
            "goodwill" => GrantKind::Goodwill,
            "trial" => GrantKind::Trial,
            "bonus" => GrantKind::Bonus,
            "plan" => GrantKind::Plan,
            "purchased" => GrantKind::Purchased,
            _ => panic!("no such kind: {kind}"),
        },
        priority: option(terms, "priority").map_or(0, number) as i32,
        effective_at: option(terms, "from").map_or(now, moment),
        expires_at: option(terms, "until").map(moment),
    }
}

/// `quantity x price for=… epoch=…`, priced as a caller's request would be.
fn hold(units: &str, terms: &[&str]) -> Result<HoldTerms, Refusal> {
    let (quantity, unit_price) = units.split_once('x').expect("quantity x price");
    let card = RateCard::new(1, [("work".into(), number(unit_price))]);
    let price = card.price("work", Quantity::new(number(quantity)).expect("a lawful quantity"))?;
    Ok(HoldTerms {
        price: price.expect("it is on the card"),
        labels: Default::default(),
        seconds: option(terms, "for").map_or(900, seconds),
        epoch: option(terms, "epoch").map_or(0, number),
    })
}

fn option<'a>(terms: &[&'a str], name: &str) -> Option<&'a str> {
    let mut named = terms.iter().filter_map(|term| term.split_once('='));
    named.find(|(term, _)| *term == name).map(|(_, value)| value)
}

/// `2d3h15m30s`, or `1u` for a microsecond.
fn span(text: &str) -> i64 {
    let (mut total, mut count) = (0, 0);
    for letter in text.chars() {
        let unit = match letter {
            'd' => 86_400_000_000,
            'h' => 3_600_000_000,
            'm' => 60_000_000,
            's' => 1_000_000,
            'u' => 1,
            digit => {
                count =
                    count * 10 + i64::from(digit.to_digit(10).unwrap_or_else(|| panic!("a time: {text}")));
                continue;
            }
        };
        total += count * unit;
        count = 0;
    }
    assert!(count == 0, "a time without its unit: {text}");
    total
}

fn seconds(text: &str) -> i64 {
    span(text) / 1_000_000
}

fn number(text: &str) -> i64 {
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("a number: {text}"))
}

fn amount(credits: i64) -> Amount {
    Amount::new(credits).expect("a lawful amount")
}
