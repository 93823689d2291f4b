//! Entries: the only truth, their hash chain, and the usage totals folded from them.
//!
//! Owns the chain and the rows of `usage`. Entries are stored in pages (`page`).
//!
//! Invariant: the hash of an entry covers everything that a rebuild needs, and free text only through a salted digest, so that
//! the text can be erased without breaking the chain.

use std::sync::Arc;

use billing::units::SECOND;
use billing::{Entry, EntryKind, Labels};
use sha2::{Digest, Sha256};

use super::Error;
use super::db::{Tx, Value};
use crate::clock;

/// Usage is totalled in slots of a quarter of an hour, the finest step of any time zone's offset.
pub const SLOT: i64 = 900 * SECOND;

/// An entry with what the store adds to it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The entry.
    pub entry: Entry,
    /// Who asked.
    pub actor: Arc<str>,
    /// Labels and reason.
    pub note: Option<Note>,
}

/// The free text of an entry. It lives beside the entries, from where it can be erased: the chain covers a salted digest.
#[derive(Clone, Debug)]
pub struct Note {
    /// What makes its digest unguessable.
    pub salt: [u8; 16],
    /// The labels.
    pub labels: Arc<Labels>,
    /// Why, in a person's words.
    pub reason: Option<Arc<str>>,
}

impl Note {
    /// `None` when there is no free text.
    pub fn new(labels: &Arc<Labels>, reason: Option<Arc<str>>) -> Option<Note> {
        (reason.is_some() || **labels != Labels::default()).then(|| Note {
            salt: clock::random(),
            labels: labels.clone(),
            reason,
        })
    }

    /// Its texts; an absent one is empty.
    pub fn texts(&self) -> [&str; 6] {
        let labels = &self.labels;
        [&labels.campaign, &labels.member, &labels.channel, &labels.reference, &labels.lead, &self.reason]
            .map(|text| text.as_deref().unwrap_or(""))
    }

    /// What the chain covers of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.salt);
        for text in self.texts() {
            hash.update((text.len() as u32).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// Chains the canonical bytes of an entry to the one before it.
pub fn chain(before: &[u8; 32], canonical: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(before).chain_update(canonical).finalize().into()
}

/// The operation under which lists show an entry: charges and refunds have one.
pub fn listed_operation(entry: &Entry) -> Option<&Arc<str>> {
    let listed = matches!(entry.kind, EntryKind::Charge | EntryKind::Refund);
    entry.price.as_ref().filter(|_| listed).map(|price| &price.operation)
}

/// What pages list entries under that change the balance and are of no operation. No operation has such a name.
pub const OTHERS: &str = "=";

/// Whether an entry changes the balance and is of no operation.
pub fn is_of_others(entry: &Entry) -> bool {
    use EntryKind::{Adjust, Expire, Grant, Repay, Revoke};
    matches!(entry.kind, Grant | Adjust | Expire | Revoke | Repay)
}

/// Where a charge is counted.
#[derive(Clone, Debug)]
pub struct UsageKey {
    workspace: i64,
    slot: i64,
    operation: Arc<str>,
    labels: [Option<Arc<str>>; 3],
}

/// What is counted there.
#[derive(Clone, Copy, Default, Debug)]
#[allow(missing_docs, reason = "the names are those of the table")]
pub struct Usage {
    pub quantity: i64,
    pub credits: i64,
    pub not_charged: i64,
    pub refunded: i64,
    pub refunded_credits: i64,
}

/// What an entry adds to usage, if anything.
pub fn usage_of(entry: &Entry) -> Option<Usage> {
    let price = entry.price.as_ref()?;
    match entry.kind {
        EntryKind::Charge => Some(Usage {
            quantity: price.quantity,
            credits: -entry.amount,
            not_charged: entry.attempted - price.quantity,
            ..Usage::default()
        }),
        EntryKind::Release if entry.attempted > 0 => {
            Some(Usage { not_charged: entry.attempted, ..Usage::default() })
        }
        EntryKind::Refund => {
            Some(Usage { refunded: price.quantity, refunded_credits: entry.amount, ..Usage::default() })
        }
        _ => None,
    }
}

/// Adds an entry to the totals of its slot.
pub fn fold_usage(totals: &mut Vec<(UsageKey, Usage)>, workspace: i64, entry: &Entry) {
    let (Some(price), Some(add)) = (&entry.price, usage_of(entry)) else { return };
    let (operation, slot) = (&price.operation, entry.at.0.div_euclid(SLOT) * SLOT);
    let Labels { campaign, member, channel, .. } = &*entry.labels;
    let labels = [campaign, member, channel];
    let is_it = |(known, _): &(UsageKey, Usage)| {
        known.slot == slot && known.operation == *operation && known.labels.each_ref() == labels
    };
    // There are few, and the last one is the likeliest.
    let index = totals.iter().rposition(is_it).unwrap_or_else(|| {
        let labels = labels.map(Option::clone);
        // Most workspaces have one: no room is kept for more.
        totals.reserve_exact(1);
        totals.push((UsageKey { workspace, slot, operation: operation.clone(), labels }, Usage::default()));
        totals.len() - 1
    });
    let total = &mut totals[index].1;
    total.quantity += add.quantity;
    total.credits += add.credits;
    total.not_charged += add.not_charged;
    total.refunded += add.refunded;
    total.refunded_credits += add.refunded_credits;
}

/// Adds to the stored totals.
pub fn add_usage<'a>(tx: &Tx<'_>, all: impl Iterator<Item = &'a (UsageKey, Usage)>) -> Result<(), Error> {
    tx.insert_all(
        "insert into usage (workspace, slot, operation, campaign, member, channel, quantity, credits, not_charged, refunded,
           refunded_credits) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         on conflict (workspace, slot, operation, campaign, member, channel) do update set
           quantity = usage.quantity + excluded.quantity, credits = usage.credits + excluded.credits,
           not_charged = usage.not_charged + excluded.not_charged, refunded = usage.refunded + excluded.refunded,
           refunded_credits = usage.refunded_credits + excluded.refunded_credits",
        all.map(|(key, usage)| {
            let [campaign, member, channel] =
                key.labels.each_ref().map(|label| Value::from(label.as_deref().unwrap_or("")));
            let operation: &str = &key.operation;
            [
                key.workspace.into(),
                key.slot.into(),
                operation.into(),
                campaign,
                member,
                channel,
                usage.quantity.into(),
                usage.credits.into(),
                usage.not_charged.into(),
                usage.refunded.into(),
                usage.refunded_credits.into(),
            ]
        }),
    )
}
