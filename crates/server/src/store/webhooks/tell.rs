//! What is told: each kind of event with its data, written in the transaction of its cause for every endpoint that wants it.
//!
//! Where nobody wants an event nothing is written, and nothing is even looked up unless something happened that is an event.
//!
//! Invariant: `seq` rises within a workspace in the order in which things happened.

use std::sync::Arc;

use billing::account::HoldStatus;
use billing::campaign::Reason;
use billing::units::DAY;
use billing::{EntryKind, Time};
use serde_json::{Value as Json, json};

use super::super::batch::Batch;
use super::super::db::Tx;
use super::super::entry::Recorded;
use super::super::jobs::{Job, JobKind};
use super::super::{Error, alerts, doubts};
use crate::{clock, id, values};

/// How long events and the log of their deliveries are kept, in microseconds.
const KEPT: i64 = 90 * DAY;

macro_rules! kinds {
    ($($kind:ident $name:literal),* $(,)?) => {
        /// What an event tells of.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)]
        pub enum Kind {
            $($kind),*
        }

        impl Kind {
            /// All of them, in the order in which they are listed.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name),*
                }
            }
        }
    };
}

kinds! {
    CreditsLow "credits.low",
    CreditsCritical "credits.critical",
    CreditsOut "credits.out",
    CreditsRestored "credits.restored",
    TopUpCompleted "topup.completed",
    TopUpFailed "topup.failed",
    SubscriptionRenewed "subscription.renewed",
    SubscriptionPastDue "subscription.past_due",
    SubscriptionCanceled "subscription.canceled",
    CampaignPaused "campaign.paused",
    CampaignResumed "campaign.resumed",
    CampaignCompleted "campaign.completed",
    HoldInDoubt "hold.in_doubt",
}

impl Kind {
    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// Whether any endpoint wants events of a kind: who would have to write many of them looks once.
pub fn is_wanted(tx: &Tx<'_>, workspace: i64, kind: Kind) -> Result<bool, Error> {
    Ok(!wanting(tx, workspace, kind)?.is_empty())
}

/// The endpoints that want events of a kind.
fn wanting(tx: &Tx<'_>, workspace: i64, kind: Kind) -> Result<Vec<i64>, Error> {
    let enabled = "select id, events from webhook_endpoint where workspace = ?1 and status = 0";
    let mut endpoints = tx.query(enabled, values![workspace], |row| Ok((row.int(0)?, row.text(1)?)))?;
    endpoints.retain(|(_, kinds)| kinds.is_empty() || kinds.split(',').any(|name| name == kind.name()));
    Ok(endpoints.into_iter().map(|(id, _)| id).collect())
}

/// Writes an event for every endpoint that wants it.
pub fn tell(tx: &Tx<'_>, workspace: i64, now: Time, kind: Kind, data: &Json) -> Result<(), Error> {
    let endpoints = wanting(tx, workspace, kind)?;
    if endpoints.is_empty() {
        return Ok(());
    }
    let next = "select coalesce(max(seq), 0) + 1 from webhook_event where workspace = ?1";
    let seq = tx.int(next, values![workspace])?;
    tx.execute(
        "insert into webhook_event (workspace, seq, kind, at, data) values (?1, ?2, ?3, ?4, ?5)",
        values![workspace, seq, kind.name(), now, data.to_string()],
    )?;
    for endpoint in endpoints {
        tx.execute(
            "insert into webhook_delivery (workspace, endpoint, seq, status, attempts, due_at) values (?1, ?2, ?3, 0, 0, ?4)",
            values![workspace, endpoint, seq, now],
        )?;
    }
    forget(tx, workspace, seq, now)
}

/// Deletes what is too old. The newest event always stays: the next one is counted from it.
fn forget(tx: &Tx<'_>, workspace: i64, newest: i64, now: Time) -> Result<(), Error> {
    let oldest = "select min(at) from webhook_event where workspace = ?1";
    let oldest = tx.one(oldest, values![workspace], |row| row.opt_int(0))?.flatten();
    if oldest.is_none_or(|oldest| oldest >= now.0 - KEPT) {
        return Ok(());
    }
    let end = "select max(seq) from webhook_event where workspace = ?1 and at < ?2";
    let end = tx.int(end, values![workspace, now.0 - KEPT])?.min(newest - 1);
    tx.execute("delete from webhook_event where workspace = ?1 and seq <= ?2", values![workspace, end])?;
    tx.execute("delete from webhook_delivery where workspace = ?1 and seq <= ?2", values![workspace, end])?;
    Ok(())
}

/// A line was crossed.
pub fn credits(batch: &mut Batch<'_>, workspace: i64, kind: Kind, needed: Option<i64>) -> Result<(), Error> {
    let now = batch.now;
    let cached = batch.cached(workspace);
    let account = &cached.account;
    let data = json!({
        "state": alerts::level_name(cached.level),
        "available": account.available,
        "held": account.held,
        "balance": account.available + account.held - account.debt,
        "needed": needed,
    });
    tell(&batch.tx, workspace, now, kind, &data)
}

/// Holds among these entries that went in doubt, and still are.
pub fn in_doubt(batch: &mut Batch<'_>, workspace: i64, recorded: &[Arc<Recorded>]) -> Result<(), Error> {
    for row in recorded.iter().filter(|row| row.entry.kind == EntryKind::Doubt) {
        let Some(id) = row.entry.hold else { continue };
        let Some(hold) = batch.hold(workspace, id)?.filter(|hold| hold.status == HoldStatus::InDoubt) else {
            continue;
        };
        let data = json!({
            "hold": id::inside("hold", workspace, id.0),
            "operation": &*hold.price.operation,
            "quantity": hold.price.quantity,
            "amount": hold.price.amount(),
            "campaign": hold.labels.campaign.as_deref(),
            "member": hold.labels.member.as_deref(),
            "channel": hold.labels.channel.as_deref(),
            "reference": hold.labels.reference.as_deref(),
            "in_doubt_until": clock::rfc3339(hold.ends_at),
        });
        doubts::found(batch, workspace, id)?;
        tell(&batch.tx, workspace, batch.now, Kind::HoldInDoubt, &data)?;
    }
    Ok(())
}

/// A campaign stopped, went on, or ended. Other jobs are not told of.
pub fn campaign(tx: &Tx<'_>, workspace: i64, job: &Job, kind: Kind, now: Time) -> Result<(), Error> {
    if job.kind != JobKind::Campaign {
        return Ok(());
    }
    let reason = |reason: &Reason| match reason {
        Reason::OutOfCredits => "out_of_credits",
        Reason::Person => "person",
        Reason::CreditCap => "credit_cap",
        Reason::Provider => "provider",
    };
    let data = json!({
        "campaign": id::inside("camp", workspace, job.id),
        "name": &job.name,
        "reasons": job.run.reasons.keys().map(reason).collect::<Vec<_>>(),
        "credits_used": job.credits_used,
    });
    tell(tx, workspace, now, kind, &data)
}
