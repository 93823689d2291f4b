//! Credits set aside for one operation: how that is asked for, how it stands and how it ended.
//!
//! Owns what an entry changes in a hold. It does *not* decide, and knows nothing of the account beside it.

use alloc::sync::Arc;

use crate::account::{Bucket, Entry, EntryKind};
use crate::burn_down::Parts;
use crate::units::{Seq, Time};

/// How a hold stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the trade's")]
pub enum HoldStatus {
    Open,
    Dispatched,
    InDoubt,
    Settled,
    Released,
}

/// Why a hold was released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReleaseReason {
    /// The caller, or a person who resolved it.
    Caller,
    /// It ran out before it was dispatched.
    Expired,
    /// It stayed in doubt until its deadline.
    Deadline,
}

/// What the caller attached to a charge. Carried, never interpreted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names are the caller's")]
pub struct Labels {
    pub campaign: Option<Arc<str>>,
    pub member: Option<Arc<str>>,
    pub channel: Option<Arc<str>>,
    pub reference: Option<Arc<str>>,
    pub lead: Option<Arc<str>>,
}

/// Credits set aside for one operation, and how that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The entry that made it.
    pub id: Seq,
    /// When it was made.
    pub opened_at: Time,
    /// Operation, units and the price it was made at.
    pub price: crate::rate_card::Price,
    /// What the caller attached.
    pub labels: Arc<Labels>,
    /// The runner's lease under which it was made; 0 for a caller without leases.
    pub epoch: i64,
    /// How it stands.
    pub status: HoldStatus,
    /// The grants that pay, in burn-down order: what is held, or, once settled, what was consumed and not refunded.
    pub parts: Parts,
    /// When an open hold is released and a dispatched one becomes in doubt; in doubt: when it is released.
    pub ends_at: Time,
    /// Units charged.
    pub settled: i64,
    /// Units that the caller says were tried.
    pub attempted: i64,
    /// Units given back after they were charged.
    pub refunded: i64,
    /// Set when it was released.
    pub release_reason: Option<ReleaseReason>,
    /// Set when it was settled or released.
    pub ended_at: Option<Time>,
}

impl Hold {
    /// The hold that an entry makes, if it makes one.
    pub fn made_by(entry: &Entry) -> Option<Hold> {
        (entry.hold == Some(entry.seq)).then(|| Hold::new(entry))
    }

    /// Whether credits are still set aside by it.
    pub fn is_open(&self) -> bool {
        matches!(self.status, HoldStatus::Open | HoldStatus::Dispatched | HoldStatus::InDoubt)
    }
}

impl Hold {
    /// The hold that a hold entry opens, or that a one-step charge opens and settles.
    pub(crate) fn new(entry: &Entry) -> Hold {
        let price = entry.price.clone().expect("a hold entry carries its price");
        let charged = entry.kind == EntryKind::Charge;
        Hold {
            id: entry.seq,
            opened_at: entry.at,
            labels: entry.labels.clone(),
            epoch: entry.epoch,
            status: if charged { HoldStatus::Settled } else { HoldStatus::Open },
            parts: entry.postings.iter().map(|posting| (posting.grant, posting.credits)).collect(),
            ends_at: entry.until.unwrap_or(entry.at),
            settled: if charged { price.quantity } else { 0 },
            attempted: entry.attempted,
            refunded: 0,
            release_reason: None,
            ended_at: charged.then_some(entry.at),
            price,
        }
    }

    /// What a later entry about it makes of it.
    ///
    /// # Panics
    /// When the entry does not change a hold.
    pub fn change(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Dispatch => self.status = HoldStatus::Dispatched,
            EntryKind::Extend => {}
            EntryKind::Doubt => self.status = HoldStatus::InDoubt,
            EntryKind::Charge => {
                self.status = HoldStatus::Settled;
                self.settled = entry.price.as_ref().map_or(0, |price| price.quantity);
                let consumed = entry.postings.iter().filter(|posting| posting.to == Bucket::Consumed);
                self.parts = consumed.map(|posting| (posting.grant, posting.credits)).collect();
                self.release_reason = None;
            }
            EntryKind::Release => {
                self.status = HoldStatus::Released;
                self.parts = Parts::default();
                self.release_reason = entry.release_reason;
            }
            EntryKind::Refund => {
                self.refunded += entry.price.as_ref().map_or(0, |price| price.quantity);
                let kept: i64 = self.parts.iter().map(|part| part.1).sum::<i64>() - entry.amount;
                self.parts = crate::burn_down::split(&self.parts, kept).0;
            }
            other => panic!("an entry of kind {other:?} does not change a hold"),
        }
        if matches!(entry.kind, EntryKind::Charge | EntryKind::Release) {
            self.attempted = entry.attempted;
            self.ended_at = Some(entry.at);
        } else if let Some(until) = entry.until {
            self.ends_at = until;
        }
    }
}
