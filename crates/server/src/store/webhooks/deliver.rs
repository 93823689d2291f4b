//! How events are handed over: what is due, who has it, how an attempt ended, and the log that people read.
//!
//! Invariant: of one endpoint a node hands over one event at a time, and an attempt counts only for whoever claimed it.

use billing::Time;
use billing::units::DAY;

use super::super::db::{Row, Tx};
use super::super::{Error, Store, alerts, outbox};
use super::EndpointState;
use crate::{id, values};

/// The pauses between attempts, in seconds: ten attempts within about three days.
const PAUSES: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// An endpoint that has taken nothing for so long is turned off, in microseconds.
const PATIENCE: i64 = 5 * DAY;
/// How long whoever took a delivery has for it: longer than a receiver may take.
const LEASE_SECONDS: i64 = 60;

/// One event on its way to one endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub workspace: i64,
    pub endpoint: i64,
    pub seq: i64,
    pub url: String,
    /// What it is signed with: the newest first.
    pub secrets: Vec<Vec<u8>>,
    pub kind: String,
    /// When it happened.
    pub at: Time,
    /// A JSON object.
    pub data: String,
    /// Attempts before this one.
    pub attempts: i64,
}

/// What an attempt gave.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub verdict: Verdict,
    /// The status that was answered.
    pub answer: Option<i64>,
    /// One line on why it was not taken.
    pub detail: Option<String>,
}

/// What an attempt means for the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// It is tried again.
    Later,
    /// The endpoint says that it is gone for good.
    Gone,
}

/// How a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum DeliveryState {
    Pending = 0,
    Delivered = 1,
    Failed = 2,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Logged {
    pub seq: i64,
    pub kind: String,
    /// When it happened.
    pub at: Time,
    pub state: DeliveryState,
    pub attempts: i64,
    /// When it is tried next, while it is pending.
    pub due_at: Time,
    pub attempted_at: Option<Time>,
    pub answer: Option<i64>,
    pub detail: Option<String>,
}

impl Store {
    /// Endpoints with something due, the longest waiting first.
    pub async fn due_endpoints(&self, limit: i64) -> Result<Vec<(i64, i64)>, Error> {
        let now = self.clock().now();
        let due =
            "select workspace, endpoint, min(due_at) from webhook_delivery where status = 0 and due_at <= ?1
            group by workspace, endpoint order by min(due_at) limit ?2";
        self.read(move |tx| tx.query(due, values![now, limit], |row| Ok((row.int(0)?, row.int(1)?)))).await
    }

    /// Takes the oldest event that is due at an endpoint: nobody else takes it for a while.
    pub async fn claim_delivery(&self, workspace: i64, endpoint: i64) -> Result<Option<Delivery>, Error> {
        self.write(workspace, move |batch| claim(&batch.tx, workspace, endpoint, batch.now)).await
    }

    /// The next moment after now at which an event is tried.
    pub async fn next_delivery(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(due_at) from webhook_delivery where status = 0 and due_at > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }

    /// Records how an attempt ended.
    pub async fn delivery_ended(&self, delivery: Delivery, attempt: Attempt) -> Result<(), Error> {
        self.write(delivery.workspace, move |batch| ended(&batch.tx, &delivery, &attempt, batch.now)).await
    }

    /// The log of an endpoint, newest first: what happened before `before`, in one state or any.
    pub async fn deliveries(
        &self,
        workspace: i64,
        endpoint: i64,
        state: Option<DeliveryState>,
        (before, limit): (Option<i64>, i64),
    ) -> Result<Vec<Logged>, Error> {
        let state = state.map_or(-1, |state| state as i64);
        self.read(move |tx| {
            tx.query(
                &format!("{LOG} and d.endpoint = ?2 and d.seq < ?3 and (?4 = -1 or d.status = ?4) order by d.seq desc limit ?5"),
                values![workspace, endpoint, before.unwrap_or(i64::MAX), state, limit],
                logged,
            )
        })
        .await
    }

    /// Tries an event again now, whatever became of it.
    pub async fn retry_delivery(&self, workspace: i64, endpoint: i64, seq: i64) -> Result<Logged, Error> {
        self.write(workspace, move |batch| {
            let tx = &batch.tx;
            if super::find(tx, workspace, endpoint)?.state != EndpointState::Enabled {
                let detail = "the endpoint is turned off: enable it first";
                return Err(Error::Conflict("webhook_endpoint_disabled", detail));
            }
            let one = format!("{LOG} and d.endpoint = ?2 and d.seq = ?3");
            let of_it = values![workspace, endpoint, seq];
            tx.one(&one, of_it, logged)?.ok_or(Error::NotFound)?;
            tx.execute(
                "update webhook_delivery set status = 0, attempts = 0, due_at = ?4
                 where workspace = ?1 and endpoint = ?2 and seq = ?3",
                values![workspace, endpoint, seq, batch.now],
            )?;
            tx.one(&one, of_it, logged)?.ok_or(Error::NotFound)
        })
        .await
    }
}

const LOG: &str = "select d.seq, e.kind, e.at, d.status, d.attempts, d.due_at, d.attempted_at, d.answer, d.detail
    from webhook_delivery d join webhook_event e on e.workspace = d.workspace and e.seq = d.seq where d.workspace = ?1";

fn logged(row: &Row<'_>) -> Result<Logged, Error> {
    let states = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed];
    Ok(Logged {
        seq: row.int(0)?,
        kind: row.text(1)?,
        at: row.time(2)?,
        state: states[row.int(3)?.clamp(0, 2) as usize],
        attempts: row.int(4)?,
        due_at: row.time(5)?,
        attempted_at: row.opt_time(6)?,
        answer: row.opt_int(7)?,
        detail: row.opt_text(8)?,
    })
}

fn claim(tx: &Tx<'_>, workspace: i64, endpoint: i64, now: Time) -> Result<Option<Delivery>, Error> {
    let due = "select d.seq, d.attempts, e.kind, e.at, e.data
        from webhook_delivery d join webhook_event e on e.workspace = d.workspace and e.seq = d.seq
        where d.workspace = ?1 and d.endpoint = ?2 and d.status = 0 and d.due_at <= ?3 order by d.seq limit 1";
    let due = tx.one(due, values![workspace, endpoint, now], |row| {
        Ok((row.int(0)?, row.int(1)?, row.text(2)?, row.time(3)?, row.text(4)?))
    })?;
    let signed =
        "select url, secret, old_secret, old_until from webhook_endpoint where workspace = ?1 and id = ?2";
    let signed = tx.one(signed, values![workspace, endpoint], |row| {
        let old = row.opt_blob(2)?.filter(|_| row.opt_time(3).is_ok_and(|until| until > Some(now)));
        Ok((row.text(0)?, std::iter::once(row.blob(1)?).chain(old).collect()))
    })?;
    let (Some((seq, attempts, kind, at, data)), Some((url, secrets))) = (due, signed) else {
        return Ok(None);
    };
    tx.execute(
        "update webhook_delivery set due_at = ?4 where workspace = ?1 and endpoint = ?2 and seq = ?3",
        values![workspace, endpoint, seq, now.plus_seconds(LEASE_SECONDS)],
    )?;
    Ok(Some(Delivery { workspace, endpoint, seq, url, secrets, kind, at, data, attempts }))
}

fn ended(tx: &Tx<'_>, delivery: &Delivery, attempt: &Attempt, now: Time) -> Result<(), Error> {
    let Delivery { workspace, endpoint, seq, attempts, .. } = delivery;
    let pause = usize::try_from(*attempts).ok().and_then(|before| PAUSES.get(before));
    let (state, due) = match (attempt.verdict, pause) {
        (Verdict::Taken, _) => (DeliveryState::Delivered, now),
        (Verdict::Later, Some(pause)) => (DeliveryState::Pending, now.plus_seconds(*pause)),
        (Verdict::Later, None) | (Verdict::Gone, _) => (DeliveryState::Failed, now),
    };
    let counted = tx.execute(
        "update webhook_delivery set status = ?4, attempts = ?5 + 1, due_at = ?6, attempted_at = ?7, answer = ?8, detail = ?9
         where workspace = ?1 and endpoint = ?2 and seq = ?3 and status = 0 and attempts = ?5",
        values![
            workspace,
            endpoint,
            seq,
            state as i64,
            attempts,
            due,
            now,
            attempt.answer,
            attempt.detail.as_ref()
        ],
    )?;
    if counted == 0 {
        return Ok(());
    }
    if attempt.verdict == Verdict::Taken {
        tx.execute(
            "update webhook_endpoint set failing_since = null where workspace = ?1 and id = ?2 and failing_since is not null",
            values![workspace, endpoint],
        )?;
        return Ok(());
    }
    tx.execute(
        "update webhook_endpoint set failing_since = coalesce(failing_since, ?3) where workspace = ?1 and id = ?2",
        values![workspace, endpoint, now],
    )?;
    let known = super::find(tx, *workspace, *endpoint)?;
    let since = known.failing_since.map_or(0, |since| now.0 - since.0);
    let lost = attempt.verdict == Verdict::Gone || since >= PATIENCE;
    if lost && known.state == EndpointState::Enabled {
        give_up(tx, *workspace, &known, attempt, now)
    } else {
        Ok(())
    }
}

/// Turns an endpoint off that nobody answers at, and says so.
fn give_up(
    tx: &Tx<'_>,
    workspace: i64,
    endpoint: &super::Endpoint,
    attempt: &Attempt,
    now: Time,
) -> Result<(), Error> {
    tx.execute(
        "update webhook_endpoint set status = 2 where workspace = ?1 and id = ?2",
        values![workspace, endpoint.id],
    )?;
    drop_waiting(tx, workspace, endpoint.id, "the endpoint was turned off")?;
    let host = endpoint.url.split('/').nth(2).unwrap_or_default();
    let title = format!("A webhook endpoint was turned off: {host}.");
    let why = match attempt.verdict {
        Verdict::Gone => "It answered that it is gone.".to_owned(),
        _ => format!("It took nothing for {} days.", PATIENCE / DAY),
    };
    let body = format!("{why} Enable it again under Account, Webhooks, once it answers.");
    alerts::add(tx, workspace, "webhook", now, &title, &body)?;
    outbox::mail_admins(tx, workspace, now, &title, &body)
}

/// Gives up what waits for an endpoint.
pub(super) fn drop_waiting(tx: &Tx<'_>, workspace: i64, endpoint: i64, why: &str) -> Result<(), Error> {
    tx.execute(
        "update webhook_delivery set status = 2, detail = ?3 where workspace = ?1 and endpoint = ?2 and status = 0",
        values![workspace, endpoint, why],
    )?;
    Ok(())
}

impl Delivery {
    /// The event's id: the same at every endpoint and every attempt.
    pub fn event_id(&self) -> String {
        event_id(self.workspace, self.seq)
    }
}

/// How an event is named.
pub fn event_id(workspace: i64, seq: i64) -> String {
    id::inside("evt", workspace, seq)
}
