//! Entries: the only truth, their hash chain, and the usage totals folded from them.
//!
//! Owns the chain and the rows of `entry`, `note` and `usage`.
//!
//! Invariant: the hash of an entry covers everything that a rebuild needs, and free text only through a salted digest, so that
//! the text can be erased without breaking the chain.

use std::collections::HashMap;
use std::sync::Arc;

use billing::units::SECOND;
use billing::{Entry, EntryKind, Labels, Price, Seq};
use sha2::{Digest, Sha256};

use super::Error;
use super::canonical;
use super::codec::{
    entry_kind, kind_code, postings, postings_text, release_code, release_reason, terms, terms_text,
};
use super::db::{Row, Tx, Value};
use crate::{clock, values};

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
    /// SHA-256 over the hash before and this entry.
    pub hash: [u8; 32],
}

/// The free text of an entry. It lives in a table of its own from which it can be erased: the chain covers a salted digest.
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

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.salt);
        for text in self.texts() {
            hash.update((text.len() as u32).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

impl Recorded {
    /// Chains an entry to the one before it; with it go the bytes that the chain covers.
    pub fn new(entry: Entry, actor: Arc<str>, note: Option<Note>, before: &[u8; 32]) -> (Recorded, Vec<u8>) {
        let digest = note.as_ref().map(Note::digest);
        let bytes = canonical::encode(&entry, &actor, digest.as_ref());
        let mut hash = Sha256::new_with_prefix(before);
        hash.update(&bytes);
        (Recorded { entry, actor, note, hash: hash.finalize().into() }, bytes)
    }
}

/// Appends entries of one partition, with their notes.
pub fn insert_entries<'a, I: Iterator<Item = (i64, &'a Recorded)>>(
    tx: &Tx<'_>,
    all: impl Fn() -> I,
) -> Result<(), Error> {
    tx.insert_all(
        "insert into entry (workspace, seq, at, kind, amount, available, balance, debt, postings, grant_id, hold_id, operation,
           quantity, unit_price, version, attempted, until, terms, release_reason, epoch, actor, note, hash)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
        all().map(|(workspace, recorded)| entry_row(workspace, recorded)),
    )?;
    tx.insert_all(
        "insert into note (workspace, seq, salt, campaign, member, channel, reference, lead, reason)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        all().filter_map(|(workspace, Recorded { entry, note, .. })| {
            let note = note.as_ref()?;
            let [campaign, member, channel, reference, lead, reason] = note.texts().map(Value::from);
            let (seq, salt) = (entry.seq.into(), (&note.salt).into());
            Some([workspace.into(), seq, salt, campaign, member, channel, reference, lead, reason])
        }),
    )
}

fn entry_row(workspace: i64, Recorded { entry, actor, note, hash }: &Recorded) -> [Value<'_>; 23] {
    let price = entry.price.as_ref();
    [
        workspace.into(),
        entry.seq.into(),
        entry.at.into(),
        kind_code(entry.kind).into(),
        entry.amount.into(),
        entry.available.into(),
        entry.balance.into(),
        entry.debt.into(),
        postings_text(&entry.postings).into(),
        entry.grant.into(),
        entry.hold.into(),
        price.map(|price| &*price.operation).into(),
        price.map(|price| price.quantity).into(),
        price.map(|price| price.unit_price).into(),
        price.map(|price| price.version).into(),
        entry.attempted.into(),
        entry.until.into(),
        entry.terms.as_ref().map(terms_text).into(),
        entry.release_reason.map(release_code).into(),
        entry.epoch.into(),
        (&**actor).into(),
        note.as_ref().map(Note::digest).into(),
        hash.into(),
    ]
}

/// The columns of an entry with its note, for queries that read entries.
pub const ENTRY: &str = "select e.seq, e.at, e.kind, e.amount, e.available, e.balance, e.debt, e.postings, e.grant_id, e.hold_id,
    e.operation, e.quantity, e.unit_price, e.version, e.attempted, e.until, e.terms, e.release_reason, e.epoch, e.actor, e.hash,
    n.salt, n.campaign, n.member, n.channel, n.reference, n.lead, n.reason
    from entry e left join note n on n.workspace = e.workspace and n.seq = e.seq";

/// Reads a row of [`ENTRY`].
pub fn read_entry(row: &Row<'_>) -> Result<Recorded, Error> {
    let label =
        |index| Ok::<_, Error>(row.opt_text(index)?.filter(|text| !text.is_empty()).map(Arc::<str>::from));
    let labels = Labels {
        campaign: label(22)?,
        member: label(23)?,
        channel: label(24)?,
        reference: label(25)?,
        lead: label(26)?,
    };
    let labels = Arc::new(labels);
    let salt = row.opt_blob(21)?.and_then(|salt| salt.try_into().ok());
    let note = match salt {
        Some(salt) => Some(Note { salt, labels: labels.clone(), reason: label(27)? }),
        None => None,
    };
    let price = row.opt_text(10)?.map(|operation| {
        let (quantity, unit_price) = (row.opt_int(11)?.unwrap_or(0), row.opt_int(12)?.unwrap_or(0));
        Ok::<_, Error>(Price {
            operation: operation.into(),
            quantity,
            unit_price,
            version: row.opt_int(13)?.unwrap_or(0),
        })
    });
    let until = row.opt_time(15)?;
    let entry = Entry {
        seq: Seq(row.int(0)?),
        at: row.time(1)?,
        kind: entry_kind(row.int(2)?),
        amount: row.int(3)?,
        available: row.int(4)?,
        balance: row.int(5)?,
        debt: row.int(6)?,
        postings: postings(&row.text(7)?),
        grant: row.opt_int(8)?.map(Seq),
        hold: row.opt_int(9)?.map(Seq),
        price: price.transpose()?,
        attempted: row.int(14)?,
        until,
        terms: row.opt_text(16)?.and_then(|text| terms(&text, until)),
        release_reason: row.opt_int(17)?.map(release_reason),
        epoch: row.int(18)?,
        labels,
    };
    let hash = row.blob(20)?.try_into().unwrap_or([0; 32]);
    Ok(Recorded { entry, actor: row.text(19)?.into(), note, hash })
}

/// One entry.
pub fn load_entry(tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Option<Recorded>, Error> {
    tx.one(&format!("{ENTRY} where e.workspace = ?1 and e.seq = ?2"), values![workspace, seq], read_entry)
}

/// Where a charge is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UsageKey {
    workspace: i64,
    slot: i64,
    operation: Arc<str>,
    labels: [Option<Arc<str>>; 3],
}

/// What is counted there.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    quantity: i64,
    credits: i64,
    not_charged: i64,
    refunded: i64,
    refunded_credits: i64,
}

/// Adds an entry to the totals of its slot.
pub fn fold_usage(totals: &mut HashMap<UsageKey, Usage>, workspace: i64, entry: &Entry) {
    let Some(price) = &entry.price else { return };
    let add = match entry.kind {
        EntryKind::Charge => Usage {
            quantity: price.quantity,
            credits: -entry.amount,
            not_charged: entry.attempted - price.quantity,
            ..Usage::default()
        },
        EntryKind::Release if entry.attempted > 0 => {
            Usage { not_charged: entry.attempted, ..Usage::default() }
        }
        EntryKind::Refund => {
            Usage { refunded: price.quantity, refunded_credits: entry.amount, ..Usage::default() }
        }
        _ => return,
    };
    let labels = &entry.labels;
    let labels = [labels.campaign.clone(), labels.member.clone(), labels.channel.clone()];
    let slot = entry.at.0.div_euclid(SLOT) * SLOT;
    let key = UsageKey { workspace, slot, operation: price.operation.clone(), labels };
    let total = totals.entry(key).or_default();
    total.quantity += add.quantity;
    total.credits += add.credits;
    total.not_charged += add.not_charged;
    total.refunded += add.refunded;
    total.refunded_credits += add.refunded_credits;
}

/// Adds to the stored totals.
pub fn add_usage<'a>(tx: &Tx<'_>, all: impl Iterator<Item = (&'a UsageKey, &'a Usage)>) -> Result<(), Error> {
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
