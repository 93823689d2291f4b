//! What a decision reads and what it leaves behind: the account with its grants and holds, and the entry.
//!
//! Owns `Account::apply`, the only code that changes an account. It decides nothing: an entry that breaks an invariant is a
//! bug and panics before anything is committed.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use crate::few::Few;
pub use crate::hold::{Hold, HoldStatus, Labels, ReleaseReason};
use crate::units::{Seq, Time};

/// Where a grant's credits can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bucket {
    /// Outside: where a grant's credits come from.
    Issued,
    /// Granted, but not yet effective.
    Scheduled,
    /// Can be spent now.
    Available,
    /// Set aside by a hold.
    Held,
    /// Spent.
    Consumed,
    /// Gone because the grant expired.
    Expired,
    /// Taken back.
    Revoked,
    /// Used to repay debt.
    Repaid,
}

/// One move of one grant's credits between two buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posting {
    /// The grant.
    pub grant: Seq,
    /// The bucket that loses the credits.
    pub from: Bucket,
    /// The bucket that gets them.
    pub to: Bucket,
    /// Credits, above zero.
    pub credits: i64,
}

/// The moves of an entry.
pub type Postings = Few<Posting>;

/// Where a grant came from. The order is the burn-down order of otherwise equal grants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the trade's")]
pub enum GrantKind {
    Promo,
    Goodwill,
    Trial,
    Bonus,
    Plan,
    Purchased,
}

/// A dated lot of credits and where they are now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The entry that made it.
    pub id: Seq,
    /// What was promised.
    pub terms: crate::ledger::GrantTerms,
    /// When it was made.
    pub granted_at: Time,
    /// Set once it was revoked: whatever returns to it is taken back too.
    pub revoked_at: Option<Time>,
    /// Credits by bucket.
    pub scheduled: i64,
    /// Can be spent now.
    pub available: i64,
    /// Set aside by holds.
    pub held: i64,
    /// Spent.
    pub consumed: i64,
    /// Gone by expiry.
    pub expired: i64,
    /// Taken back.
    pub revoked: i64,
    /// Used to repay debt.
    pub repaid: i64,
}

/// What an entry records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EntryKind {
    /// A grant that becomes effective later. The balance does not change yet.
    Schedule,
    /// Credits became available.
    Grant,
    /// A correction by a person, up or down.
    Adjust,
    /// Credits were set aside.
    Hold,
    /// The outside call is about to be made.
    Dispatch,
    /// A hold got more time.
    Extend,
    /// The outcome of the outside call is not known.
    Doubt,
    /// A hold ended in a charge.
    Charge,
    /// A hold ended without a charge.
    Release,
    /// A grant's credits ran out.
    Expire,
    /// Credits were taken back.
    Revoke,
    /// A charge was given back.
    Refund,
    /// Debt was repaid.
    Repay,
}

/// One line of the ledger: the atomic group of postings that one event caused, and the account after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number in the workspace.
    pub seq: Seq,
    /// When it was written; strictly later than the entry before.
    pub at: Time,
    /// What it records.
    pub kind: EntryKind,
    /// Change of the balance, in credits.
    pub amount: i64,
    /// Available after it.
    pub available: i64,
    /// Balance after it.
    pub balance: i64,
    /// Change of the debt, in credits.
    pub debt: i64,
    /// The moves.
    pub postings: Postings,
    /// The grant it makes or ends.
    pub grant: Option<Seq>,
    /// The hold it makes, changes or ends.
    pub hold: Option<Seq>,
    /// Operation and price, for entries about a hold.
    pub price: Option<crate::rate_card::Price>,
    /// Units tried, for entries that end a hold.
    pub attempted: i64,
    /// A grant's expiry, or a hold's end.
    pub until: Option<Time>,
    /// A grant's terms, for entries that make one.
    pub terms: Option<crate::ledger::GrantTerms>,
    /// Why a hold was released.
    pub release_reason: Option<ReleaseReason>,
    /// The runner's lease of a hold.
    pub epoch: i64,
    /// What the caller attached.
    pub labels: Arc<Labels>,
}

/// A workspace's grants and open holds, as loaded for a decision. Ended holds and spent grants may be present when a
/// command names them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// The last entry's number; 0 before the first.
    pub seq: Seq,
    /// The last entry's time.
    pub at: Time,
    /// Credits that can be spent now.
    pub available: i64,
    /// Credits set aside by open holds.
    pub held: i64,
    /// Credits owed.
    pub debt: i64,
    /// Grants by id, each in a place of its own: a node of the map has room for eleven.
    pub grants: BTreeMap<Seq, Box<Grant>>,
    /// Holds by id.
    pub holds: BTreeMap<Seq, Hold>,
    /// Open holds by the moment they end.
    pub(crate) ends: BTreeSet<(Time, Seq)>,
}

impl Account {
    /// Available + held - debt.
    pub fn balance(&self) -> i64 {
        self.available + self.held - self.debt
    }

    /// How many holds are open.
    pub fn open_holds(&self) -> usize {
        self.ends.len()
    }

    /// Puts a grant loaded from the store into the account without counting it as new.
    pub fn load_grant(&mut self, grant: Grant) {
        self.available += grant.available;
        self.held += grant.held;
        self.grants.insert(grant.id, Box::new(grant));
    }

    /// Puts a hold loaded from the store into the account.
    pub fn load_hold(&mut self, hold: Hold) {
        if hold.is_open() {
            self.ends.insert((hold.ends_at, hold.id));
        }
        self.holds.insert(hold.id, hold);
    }

    /// Drops ended holds, but for those that are wanted: no later decision needs them.
    pub fn forget_ended(&mut self, is_wanted: impl Fn(Seq) -> bool) {
        if self.holds.len() > self.ends.len() {
            self.holds.retain(|id, hold| hold.is_open() || is_wanted(*id));
            // An empty map would keep room for eleven holds.
            if self.holds.is_empty() {
                (self.holds, self.ends) = Default::default();
            }
        }
    }

    /// Drops spent grants made before `recent`: no later decision needs them.
    pub fn forget_spent(&mut self, recent: Time) {
        self.grants.retain(|_, grant| grant.is_live() || grant.granted_at >= recent);
    }

    /// Writes an entry into the account.
    ///
    /// # Panics
    /// When the entry breaks an invariant: the account must not be used afterwards, and nothing may be committed.
    pub fn apply(&mut self, entry: &Entry) {
        assert!(entry.seq.0 == self.seq.0 + 1 && entry.at > self.at, "entries follow one another");
        if let Some(terms) = &entry.terms {
            self.grants.insert(entry.seq, Box::new(Grant::new(entry.seq, terms.clone(), entry.at)));
        }
        for posting in &entry.postings {
            self.move_credits(posting);
        }
        self.debt += entry.debt;
        if entry.kind == EntryKind::Revoke
            && let Some(grant) = entry.grant.and_then(|id| self.grants.get_mut(&id))
        {
            grant.revoked_at.get_or_insert(entry.at);
        }
        if entry.hold.is_some() {
            self.apply_to_hold(entry);
        }
        (self.seq, self.at) = (entry.seq, entry.at);
        assert!(self.available >= 0 && self.held >= 0 && self.debt >= 0, "no total is negative");
        assert_eq!(
            (self.available, self.balance()),
            (entry.available, entry.balance),
            "an entry tells what is left"
        );
    }

    fn move_credits(&mut self, posting: &Posting) {
        let grant = self.grants.get_mut(&posting.grant).expect("a posting names a loaded grant");
        for (bucket, change) in [(posting.from, -posting.credits), (posting.to, posting.credits)] {
            match bucket {
                Bucket::Available => self.available += change,
                Bucket::Held => self.held += change,
                _ => {}
            }
            if let Some(credits) = grant.bucket(bucket) {
                *credits += change;
                assert!(*credits >= 0, "no bucket is negative");
            }
        }
    }

    fn apply_to_hold(&mut self, entry: &Entry) {
        let id = entry.hold.expect("checked by the caller");
        if id == entry.seq {
            let hold = Hold::new(entry);
            if hold.is_open() {
                self.ends.insert((hold.ends_at, id));
            }
            self.holds.insert(id, hold);
            return;
        }
        let hold = self.holds.get_mut(&id).expect("an entry names a loaded hold");
        self.ends.remove(&(hold.ends_at, id));
        hold.change(entry);
        if hold.is_open() {
            self.ends.insert((hold.ends_at, id));
        }
    }
}

impl Grant {
    fn new(id: Seq, terms: crate::ledger::GrantTerms, granted_at: Time) -> Grant {
        let (scheduled, available, held, consumed, expired, revoked, repaid) = (0, 0, 0, 0, 0, 0, 0);
        Grant {
            id,
            terms,
            granted_at,
            revoked_at: None,
            scheduled,
            available,
            held,
            consumed,
            expired,
            revoked,
            repaid,
        }
    }

    /// Whether credits can still move in it without a refund.
    pub fn is_live(&self) -> bool {
        self.scheduled > 0 || self.available > 0 || self.held > 0
    }

    fn bucket(&mut self, bucket: Bucket) -> Option<&mut i64> {
        match bucket {
            Bucket::Issued => None,
            Bucket::Scheduled => Some(&mut self.scheduled),
            Bucket::Available => Some(&mut self.available),
            Bucket::Held => Some(&mut self.held),
            Bucket::Consumed => Some(&mut self.consumed),
            Bucket::Expired => Some(&mut self.expired),
            Bucket::Revoked => Some(&mut self.revoked),
            Bucket::Repaid => Some(&mut self.repaid),
        }
    }
}
