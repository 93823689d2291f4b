//! One workspace that is lived through twice: in the store, and by the pure rules on an account in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::ledger::{Command, GrantTerms, HoldTerms, Outcome, Posted, post};
use billing::{Account, Amount, GrantKind, Labels, Price, Refusal, Seq, Time};
use scrip::store::Error;
use scrip::store::committer::{Answer, Key, KeyKind, Post};

use crate::chance::Chance;

const DAY: i64 = 86_400_000_000;

pub type Answered = Result<Answer, Error>;

/// The account in memory, and the keys that moved credits in it.
pub struct History {
    pub workspace: i64,
    chance: Chance,
    pub account: Account,
    keys: BTreeMap<(i64, Arc<str>), ([u8; 16], Seq)>,
    posts: Vec<Post>,
    grants: Vec<Seq>,
    holds: Vec<Seq>,
}

/// Time stands still, passes, or jumps over everything that is due.
pub fn later(now: Time, chance: &mut Chance) -> Time {
    let jump = match chance.within(0, 9) {
        0..=2 => 0,
        3..=5 => chance.within(1, 60_000_000),
        6..=7 => chance.within(1, 3_600_000_000),
        8 => chance.within(1, 2 * DAY),
        _ => chance.within(1, 20 * DAY),
    };
    Time(now.0 + jump)
}

impl History {
    pub fn new(workspace: i64, chance: Chance) -> History {
        let (account, keys, posts) = (Account::default(), BTreeMap::new(), Vec::new());
        History { workspace, chance, account, keys, posts, grants: Vec::new(), holds: Vec::new() }
    }

    /// A new command, or an earlier one again, or an earlier one's key with another command.
    pub fn next_post(&mut self, now: Time) -> Post {
        if self.chance.once_in(8) && !self.posts.is_empty() {
            let index = self.chance.within(0, self.posts.len() as i64 - 1) as usize;
            let mut again = self.posts[index].clone();
            if let Some(key) = again.key.as_mut().filter(|_| self.chance.once_in(3)) {
                key.fingerprint[0] ^= 1;
            }
            return again;
        }
        let open: Vec<Seq> =
            self.account.holds.values().filter(|hold| hold.is_open()).map(|hold| hold.id).collect();
        let holds = if self.chance.once_in(3) || open.is_empty() { &self.holds } else { &open };
        let command = random_command(&mut self.chance, now, &self.grants, holds);
        let mut post = Post::new(self.workspace, command, "key_1");
        let kind = match &post.command {
            Command::Hold(_) => Some(KeyKind::Hold),
            Command::Charge(_) => Some(KeyKind::Charge),
            Command::Grant(_) => Some(KeyKind::Grant),
            Command::Adjust(_) => Some(KeyKind::Adjust),
            Command::Refund { .. } => Some(KeyKind::Refund),
            _ => None,
        };
        post.key = kind.filter(|_| !self.chance.once_in(6)).map(|kind| self.key(kind));
        post.reason = self.chance.once_in(3).then(|| "because".into());
        post.background = self.chance.once_in(6);
        self.posts.push(post.clone());
        post
    }

    /// Few names, so that different commands meet under one.
    fn key(&mut self, kind: KeyKind) -> Key {
        let name =
            if self.chance.once_in(4) { self.chance.within(0, 3) } else { self.posts.len() as i64 + 10 };
        let mut fingerprint = [0; 16];
        fingerprint[8..].copy_from_slice(&self.posts.len().to_be_bytes());
        Key { kind, key: format!("key-{name}").into(), fingerprint }
    }

    /// Posts the same to the account in memory and compares; answers what became of it.
    pub fn compare(&mut self, post_: &Post, answer: Answered, now: Time) -> String {
        let name = post_.key.as_ref().map(|key| (key.kind as i64, key.key.clone()));
        let known = name.as_ref().and_then(|name| self.keys.get(name)).copied();
        if let (Some((fingerprint, seq)), Some(key)) = (known, &post_.key) {
            return self.compare_known(post_, answer, fingerprint == key.fingerprint, seq);
        }
        let mut entries = Vec::new();
        let posted = post(&mut self.account, &post_.command, now, &mut entries);
        let about = || format!("{post_:?} at {}", now.0);
        match (&posted, &answer) {
            (Ok(Posted::Entry(seq)), Ok(answer)) => {
                let entry = entries.iter().find(|entry| entry.seq == *seq).expect("it was written");
                let stored = &answer.entry.as_ref().expect("an entry").entry;
                assert_eq!(stored, entry, "{}", about());
                assert!(!answer.replayed, "{}", about());
                let hold = entry.hold.and_then(|id| self.account.holds.get(&id));
                assert_eq!(answer.hold.as_ref(), hold, "{}", about());
                self.remember(&post_.command, *seq);
                self.keys.extend(name.zip(post_.key.as_ref().map(|key| (key.fingerprint, *seq))));
            }
            (Ok(Posted::Already), Ok(answer)) => {
                assert!(answer.entry.is_none() && !answer.replayed, "{}", about())
            }
            (Err(refusal), Err(Error::Refused(answer))) => assert_eq!(refusal, answer, "{}", about()),
            _ => panic!("{posted:?}, but {answer:?}, {}", about()),
        }
        if let Ok(answer) = &answer {
            assert_eq!(
                (answer.available, answer.held),
                (self.account.available, self.account.held),
                "{}",
                about()
            );
        }
        match posted {
            Ok(Posted::Entry(_)) => "entry".into(),
            Ok(Posted::Already) => "already".into(),
            Err(Refusal::InvalidField { field, .. }) => format!("invalid {field}"),
            Err(refusal) => format!("{} {}", refusal.code(), matches!(refusal, Refusal::GrantNotFound)),
        }
    }

    /// A post whose answer was lost, and that did happen.
    pub fn happened(&mut self, post_: &Post, now: Time) {
        let posted = post(&mut self.account, &post_.command, now, &mut Vec::new());
        if let Ok(Posted::Entry(seq)) = posted {
            self.remember(&post_.command, seq);
            let key = post_.key.as_ref();
            self.keys.extend(key.map(|key| ((key.kind as i64, key.key.clone()), (key.fingerprint, seq))));
        }
    }

    /// A key that moved credits before: the same answer, or a refusal, and nothing happens.
    fn compare_known(&self, post: &Post, answer: Answered, same: bool, seq: Seq) -> String {
        if !same {
            let reused = matches!(answer, Err(Error::Refused(Refusal::IdempotencyKeyReused)));
            assert!(reused, "{post:?}: {answer:?}");
            return "reused".into();
        }
        let answer = answer.unwrap_or_else(|error| panic!("{post:?}: {error}"));
        assert!(
            answer.replayed && answer.entry.is_some_and(|recorded| recorded.entry.seq == seq),
            "{post:?}"
        );
        assert_eq!((answer.available, answer.held), (self.account.available, self.account.held));
        "replayed".into()
    }

    /// How many entries it has.
    pub fn entries(&self) -> i64 {
        self.account.seq.0
    }

    pub fn agrees(&self, available: i64, held: i64, debt: i64) {
        let account = &self.account;
        assert_eq!((available, held, debt), (account.available, account.held, account.debt));
    }

    fn remember(&mut self, command: &Command, made: Seq) {
        match command {
            Command::Grant(_) | Command::Adjust(1..) => self.grants.push(made),
            Command::Hold(_) | Command::Charge(_) => self.holds.push(made),
            _ => {}
        }
    }
}

fn random_command(chance: &mut Chance, now: Time, grants: &[Seq], holds: &[Seq]) -> Command {
    let hold = named(chance, holds);
    let epoch = i64::from(chance.once_in(12));
    match chance.within(0, 99) {
        0..=15 => Command::Grant(random_terms(chance, now)),
        16..=18 => Command::Revoke(named(chance, grants)),
        19..=22 => Command::Adjust(chance.within(-9, 9)),
        23..=26 => Command::TakeBack { grant: named(chance, grants), credits: amount(chance.within(1, 15)) },
        27..=48 => Command::Hold(random_hold(chance)),
        49..=53 => Command::Charge(random_hold(chance)),
        54..=63 => Command::Dispatch { hold, epoch },
        64..=67 => Command::Extend { hold, seconds: chance.within(0, 8) * chance.within(1, 86_400) },
        68..=71 => Command::Doubt(hold),
        72..=82 => {
            let attempted = chance.once_in(4).then(|| chance.within(0, 4));
            Command::Settle { hold, quantity: chance.within(-1, 5), attempted }
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

fn named(chance: &mut Chance, from: &[Seq]) -> Seq {
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
    let expires_at = chance.once_in(2).then(|| Time((now.0 / DAY + chance.within(0, 20)) * DAY));
    let priority = if chance.once_in(4) { chance.within(-1, 1) as i32 } else { 0 };
    GrantTerms { credits: amount(chance.within(1, 20)), kind, priority, effective_at, expires_at }
}

fn random_hold(chance: &mut Chance) -> HoldTerms {
    let (quantity, unit_price) = (chance.within(1, 4), chance.within(0, 3));
    let operation = if chance.once_in(2) { "work" } else { "call" };
    let price = Price { operation: operation.into(), quantity, unit_price, version: 1 };
    let seconds = if chance.once_in(40) { 0 } else { chance.within(1, 7) * chance.within(1, 86_400) };
    let mut label = |name: &str| chance.once_in(3).then(|| Arc::<str>::from(name));
    let labels = Labels {
        campaign: label("spring"),
        member: label("ann"),
        channel: label("email"),
        reference: label("r-1"),
        lead: None,
    };
    HoldTerms { price, labels: Arc::new(labels), seconds, epoch: 0 }
}

fn amount(credits: i64) -> Amount {
    Amount::new(credits).expect("a small number above zero")
}
