//! Laws that hold after every command of every history, whatever is asked and however late anybody looks.
//!
//! `SCRIP_HISTORIES` says how many histories run and `SCRIP_SEED` which is the first; a failing one prints its own seed.

use std::collections::BTreeMap;
use std::time::Instant;

use billing::ledger::{next_due, post};
use billing::{
    Account, Amount, Command, Entry, GrantKind, GrantTerms, Hold, HoldTerms, Outcome, Posted, Price, Refusal,
    Seq, Time,
};

use crate::answer::Answer;
use crate::chance::{Chance, asked_for};
use crate::model::Model;

const COMMANDS: usize = 60;
const DAY: i64 = 86_400_000_000;
const MINUTE: i64 = 60_000_000;

#[test]
fn random_histories_obey_the_laws() {
    let (count, first) = (asked_for("SCRIP_HISTORIES", 10_000), asked_for("SCRIP_SEED", 20_270_131));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let answers = std::thread::scope(|scope| {
        let share = |thread: u64| (first + thread..first + count).step_by(threads as usize);
        let runs: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || share(thread).flat_map(History::run).collect::<Vec<_>>()))
            .collect();
        let mut answers = BTreeMap::new();
        for answer in runs.into_iter().flat_map(|run| run.join().expect("the seed is printed above")) {
            *answers.entry((answer.word, answer.about)).or_insert(0) += 1;
        }
        answers
    });
    println!("laws: seed {first}, {count} histories of {COMMANDS} commands, {:?}", started.elapsed());
    println!("{answers:?}");
    // Every answer but the two about sizes can be met by chance; a history that misses one tests less than it says.
    assert!(count < 1_000 || answers.len() == 19, "the histories do not reach every answer: {answers:?}");
}

/// One workspace lived through in four ways at once: as it comes, by a sweeper that is never late, by a server that
/// forgets whatever it may, and by the auditor.
struct History {
    chance: Chance,
    now: Time,
    account: Account,
    prompt: Account,
    forgetful: Account,
    model: Model,
    entries: Vec<Entry>,
    prompt_entries: Vec<Entry>,
    grants: Vec<Seq>,
    holds: Vec<Seq>,
}

impl History {
    fn run(seed: u64) -> Vec<Answer> {
        let mut history = History {
            chance: Chance::new(seed),
            now: Time(1_800_000_000_000_000),
            account: Account::default(),
            prompt: Account::default(),
            forgetful: Account::default(),
            model: Model::new(),
            entries: Vec::new(),
            prompt_entries: Vec::new(),
            grants: Vec::new(),
            holds: Vec::new(),
        };
        let mut told = Told { seed, line: String::new() };
        let answers = (0..COMMANDS).map(|_| history.step(&mut told)).collect();
        told.line = "the whole history".into();
        history.replays();
        answers
    }

    fn step(&mut self, told: &mut Told) -> Answer {
        self.now = Time(self.now.0 + jump(&mut self.chance));
        let open: Vec<Seq> =
            self.account.holds.values().filter(|hold| hold.is_open()).map(|hold| hold.id).collect();
        let holds = if self.chance.once_in(3) || open.is_empty() { &self.holds } else { &open };
        let command = random_command(&mut self.chance, self.now, &self.grants, holds);
        told.line = format!("{command:?} at {}", self.now.0);
        let before = self.entries.len();
        let forgot = self.post_after_forgetting(&command);
        let posted = post(&mut self.account, &command, self.now, &mut self.entries);
        let made = posted.map_or(Seq(0), |posted| if let Posted::Entry(seq) = posted { seq } else { Seq(0) });
        let answer = Answer::of(posted);
        assert_eq!(answer, self.model.step(&command, self.now, made), "the answer, and the auditor's");
        self.model.agree(&self.account);
        self.balances(before);
        assert_eq!(
            (posted, &self.entries[before..]),
            (forgot.0, &forgot.1[..]),
            "forgetting changes nothing"
        );
        self.sweeping_again_changes_nothing();
        self.lateness_changes_nothing(&command, posted, before);
        self.remember(&command, made);
        answer
    }

    fn remember(&mut self, command: &Command, made: Seq) {
        match command {
            Command::Grant(_) | Command::Adjust(1..) if made != Seq(0) => self.grants.push(made),
            Command::Hold(_) | Command::Charge(_) if made != Seq(0) => self.holds.push(made),
            _ => {}
        }
    }

    fn balances(&self, before: usize) {
        let account = &self.account;
        assert!(account.available >= 0 && account.debt >= 0, "no total is negative");
        assert!(account.debt == 0 || account.available == 0, "who owes has nothing available");
        for grant in account.grants.values() {
            let open = grant.scheduled + grant.available + grant.held;
            let gone = grant.consumed + grant.expired + grant.revoked + grant.repaid;
            assert_eq!(open + gone, grant.terms.credits.get(), "a grant's credits are all somewhere");
        }
        let open = account.holds.values().filter(|hold| hold.is_open());
        assert_eq!(open.map(set_aside).sum::<i64>(), account.held, "open holds make up what is held");
        let (mut balance, mut last) = self.entries[..before]
            .last()
            .map_or((0, (Seq(0), Time(0))), |entry| (entry.balance, (entry.seq, entry.at)));
        for entry in &self.entries[before..] {
            balance += entry.amount;
            assert_eq!(entry.balance, balance, "amounts sum to the balance");
            assert!(entry.seq > last.0 && entry.at > last.1, "number and time strictly rise");
            last = (entry.seq, entry.at);
        }
        assert_eq!(account.balance(), balance, "the balance is the sum of all amounts");
    }

    fn sweeping_again_changes_nothing(&mut self) {
        let before = self.entries.len();
        let swept = post(&mut self.account, &Command::Sweep, self.now, &mut self.entries);
        assert_eq!((swept, self.entries.len()), (Ok(Posted::Already), before), "nothing is due twice");
    }

    /// The forgetful account drops what it may before each command and loads again only what the command names.
    fn post_after_forgetting(&mut self, command: &Command) -> (Result<Posted, Refusal>, Vec<Entry>) {
        let (store, account) = (&self.account, &mut self.forgetful);
        account.forget_ended(|_| false);
        account.forget_spent(Time(self.now.0 - DAY));
        let mut named: Vec<Seq> = command.grant().into_iter().collect();
        if let Some(hold) = command.hold().and_then(|id| store.holds.get(&id)) {
            named.extend(hold.parts.iter().map(|part| part.0));
            if !account.holds.contains_key(&hold.id) {
                account.load_hold(hold.clone());
            }
        }
        for grant in named.iter().filter_map(|id| store.grants.get(id)) {
            if !account.grants.contains_key(&grant.id) {
                account.load_grant((**grant).clone());
            }
        }
        let mut entries = Vec::new();
        (post(account, command, self.now, &mut entries), entries)
    }

    /// The prompt account is swept at each due moment, and only then gets the command.
    fn lateness_changes_nothing(
        &mut self,
        command: &Command,
        posted: Result<Posted, Refusal>,
        before: usize,
    ) {
        let (account, entries) = (&mut self.prompt, &mut self.prompt_entries);
        while let Some(moment) = next_due(account).filter(|moment| *moment <= self.now) {
            let swept = entries.len();
            let sweep = |account: &mut Account, at, entries: &mut Vec<Entry>| {
                post(account, &Command::Sweep, at, entries).expect("a sweep is never refused");
            };
            sweep(account, Time(moment.0 - 1), entries);
            assert_eq!(entries.len(), swept, "nothing is due before the next due moment");
            sweep(account, moment, entries);
            assert!(entries.len() > swept, "something is due at the next due moment");
        }
        assert_eq!(post(account, command, self.now, entries), posted, "a late sweeper changes no answer");
        assert_eq!(entries.len(), self.entries.len(), "a late sweeper leaves no entry out");
        for (late, prompt) in self.entries[before..].iter().zip(&entries[before..]) {
            assert_eq!(Entry { at: prompt.at, ..late.clone() }, *prompt, "a late entry says the same");
        }
    }

    fn replays(&self) {
        let mut replayed = Account::default();
        self.entries.iter().for_each(|entry| replayed.apply(entry));
        assert!(replayed == self.account, "the entries alone make the same account");
    }
}

/// Prints where a history failed.
struct Told {
    seed: u64,
    line: String,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SCRIP_SEED={} SCRIP_HISTORIES=1 fails at: {}", self.seed, self.line);
        }
    }
}

fn set_aside(hold: &Hold) -> i64 {
    hold.parts.iter().map(|part| part.1).sum()
}

/// Mostly a little time passes, often none, sometimes weeks; now and then the clock is set back.
fn jump(chance: &mut Chance) -> i64 {
    match chance.within(0, 19) {
        0..=6 => 0,
        7..=11 => chance.within(1, 90 * MINUTE),
        12..=15 => chance.within(1, 2 * DAY),
        16 | 17 => chance.within(1, 9) * DAY,
        18 => chance.within(1, 40) * DAY,
        _ => -chance.within(1, 2 * MINUTE),
    }
}

fn random_command(chance: &mut Chance, now: Time, grants: &[Seq], holds: &[Seq]) -> Command {
    let hold = named(chance, holds);
    let epoch = i64::from(chance.once_in(12));
    match chance.within(0, 99) {
        0..=13 => Command::Grant(random_terms(chance, now)),
        14..=16 => Command::Revoke(named(chance, grants)),
        17..=20 => Command::Adjust(chance.within(-9, 6)),
        21..=24 => Command::TakeBack { grant: named(chance, grants), credits: amount(chance.within(1, 15)) },
        25..=48 => Command::Hold(random_hold(chance)),
        49..=53 => Command::Charge(random_hold(chance)),
        54..=63 => Command::Dispatch { hold, epoch },
        64..=67 => Command::Extend { hold, seconds: chance.within(0, 8) * chance.within(1, 86_400) },
        68..=71 => Command::Doubt(hold),
        72..=82 => {
            let attempted = chance.once_in(4).then(|| chance.within(0, 4));
            Command::Settle { hold, quantity: chance.within(-1, 19).min(4).rem_euclid(5), attempted }
        }
        83..=86 => Command::Release(hold),
        87..=90 => {
            let outcome = if chance.once_in(2) { Outcome::Settled } else { Outcome::Released };
            Command::Resolve { hold, outcome }
        }
        91..=97 => Command::Refund { hold, quantity: chance.once_in(2).then(|| chance.within(0, 3)) },
        _ => Command::Sweep,
    }
}

/// One that exists, more often a recent one; rarely one that does not.
fn named(chance: &mut Chance, from: &[Seq]) -> Seq {
    let recent = if chance.once_in(3) { from } else { &from[from.len().saturating_sub(3)..] };
    recent_or_none(chance, recent)
}

fn recent_or_none(chance: &mut Chance, from: &[Seq]) -> Seq {
    if chance.once_in(50) { Seq(99_999) } else { chance.pick(from).unwrap_or(Seq(99_999)) }
}

fn random_terms(chance: &mut Chance, now: Time) -> GrantTerms {
    use GrantKind::{Bonus, Goodwill, Plan, Promo, Purchased, Trial};
    let kind = chance.pick(&[Promo, Goodwill, Trial, Bonus, Plan, Purchased]).expect("six kinds");
    let effective_at = match chance.within(0, 9) {
        0..=1 => Time(now.0 + chance.within(1, 12) * DAY),
        2 => Time(now.0 - chance.within(1, 3) * DAY),
        _ => now,
    };
    // Whole days from a common start, so that many moments fall together.
    let expires_at = chance.once_in(2).then(|| Time((now.0 / DAY + chance.within(0, 20)) * DAY));
    let priority = if chance.once_in(4) { chance.within(-1, 1) as i32 } else { 0 };
    GrantTerms { credits: amount(chance.within(1, 12)), kind, priority, effective_at, expires_at }
}

fn random_hold(chance: &mut Chance) -> HoldTerms {
    let (quantity, unit_price) = (chance.within(1, 4), chance.within(0, 3));
    let price = Price { operation: "work".into(), quantity, unit_price, version: 1 };
    let seconds = if chance.once_in(40) { 0 } else { chance.within(1, 7) * chance.within(1, 86_400) };
    HoldTerms { price, labels: Default::default(), seconds, epoch: 0 }
}

fn amount(credits: i64) -> Amount {
    Amount::new(credits).expect("a small number above zero")
}
