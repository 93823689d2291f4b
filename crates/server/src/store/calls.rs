//! What providers were asked under a hold, what they answered, and what that cost the operator.
//!
//! Owns the rows of calls and their sums by day. It does *not* know who the providers are, nor what an answer means for a hold.
//!
//! Invariant: a call is noted once, under the number in its idempotency key, and is in the sum of its day from that moment on.

use billing::campaign::Position;
use billing::units::DAY;
use billing::{Seq, Time};

use super::batch::Batch;
use super::db::{Row, Tx};
use super::work::{Claim, LEASE_SECONDS, owns};
use super::{Error, Store};
use crate::values;

/// What came of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// What was asked for.
    Found = 0,
    /// An answer with nothing in it that is of use.
    Nothing = 1,
    /// This item failed for good.
    Failed = 2,
    /// The provider does not serve us.
    Refused = 3,
    /// Nothing happened; the same may succeed later.
    Later = 4,
    /// It may or may not have happened.
    Unknown = 5,
    /// It was not asked: it is left alone for a while.
    Passed = 6,
}

impl Heard {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Heard::Found => "found",
            Heard::Nothing => "not_found",
            Heard::Failed => "failed",
            Heard::Refused => "refused",
            Heard::Later => "later",
            Heard::Unknown => "unknown",
            Heard::Passed => "passed",
        }
    }
}

/// One call of a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The number in its idempotency key.
    pub number: i64,
    pub provider: String,
    pub heard: Heard,
    /// How many units the provider brought: results, or one.
    pub units: i64,
    /// In millionths of the operator's currency.
    pub cost: i64,
    /// Why there is nothing, in one line.
    pub detail: String,
    /// What it brought in case nobody has better.
    pub kept: Option<String>,
}

/// What a call was for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    pub hold: Seq,
    /// 0: of no job.
    pub job: i64,
    /// 0: of no lead.
    pub lead: i64,
    pub operation: String,
    /// What was looked up, or empty.
    pub field: String,
}

/// A call as it was noted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted {
    pub call: Call,
    pub about: About,
    pub at: Time,
}

impl Noted {
    /// Its place among the calls of a lead, newest last.
    pub fn place(&self) -> i64 {
        self.about.hold.0 * PLACES + self.call.number
    }
}

/// More than a hold has calls.
const PLACES: i64 = 64;

/// What the calls of one operation and provider came to, for one workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sum {
    pub workspace: i64,
    pub operation: String,
    pub provider: String,
    pub calls: i64,
    /// Calls that brought what was asked for.
    pub found: i64,
    pub cost: i64,
}

/// Notes a call; a second time changes nothing.
pub(super) fn note(tx: &Tx<'_>, workspace: i64, about: &About, call: &Call, now: Time) -> Result<(), Error> {
    let new = tx.execute(
        "insert into call (workspace, hold, number, job, lead, operation, field, provider, heard, units, cost, detail, kept, at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) on conflict (workspace, hold, number) do nothing",
        values![
            workspace,
            about.hold.0,
            call.number,
            about.job,
            about.lead,
            &about.operation,
            &about.field,
            &call.provider,
            call.heard as i64,
            call.units,
            call.cost,
            &call.detail,
            call.kept.as_ref(),
            now
        ],
    )?;
    if new == 0 || call.heard == Heard::Passed {
        return Ok(());
    }
    tx.execute(
        "insert into call_day (workspace, day, operation, provider, calls, found, cost) values (?1, ?2, ?3, ?4, 1, ?5, ?6)
         on conflict (workspace, day, operation, provider) do update set calls = call_day.calls + 1,
           found = call_day.found + excluded.found, cost = call_day.cost + excluded.cost",
        values![
            workspace,
            now.0.div_euclid(DAY),
            &about.operation,
            &call.provider,
            call.heard == Heard::Found,
            call.cost
        ],
    )?;
    Ok(())
}

/// Notes the calls of a piece of work.
pub(super) fn note_piece(
    batch: &mut Batch<'_>,
    claim: &Claim,
    hold: Seq,
    calls: &[Call],
) -> Result<(), Error> {
    if calls.is_empty() {
        return Ok(());
    }
    let Some(known) = batch.hold(claim.workspace, hold)? else { return Ok(()) };
    let about = About {
        hold,
        job: claim.job.id,
        lead: claim.lead.as_ref().map_or(0, |lead| lead.id),
        operation: known.price.operation.to_string(),
        field: match claim.position {
            Position::Enrich(index) => claim.job.definition.enrich.get(index).cloned().unwrap_or_default(),
            Position::Step(_) => String::new(),
        },
    };
    calls.iter().try_for_each(|call| note(&batch.tx, claim.workspace, &about, call, batch.now))
}

const CALL: &str = "select number, provider, heard, units, cost, detail, kept, hold, job, lead, operation, field, at from call";

fn read(row: &Row<'_>) -> Result<Noted, Error> {
    let heard = match row.int(2)? {
        0 => Heard::Found,
        1 => Heard::Nothing,
        2 => Heard::Failed,
        3 => Heard::Refused,
        4 => Heard::Later,
        6 => Heard::Passed,
        _ => Heard::Unknown,
    };
    Ok(Noted {
        call: Call {
            number: row.int(0)?,
            provider: row.text(1)?,
            heard,
            units: row.int(3)?,
            cost: row.int(4)?,
            detail: row.text(5)?,
            kept: row.opt_text(6)?,
        },
        about: About {
            hold: Seq(row.int(7)?),
            job: row.int(8)?,
            lead: row.int(9)?,
            operation: row.text(10)?,
            field: row.text(11)?,
        },
        at: row.time(12)?,
    })
}

impl Store {
    /// Notes what was heard before the next provider is asked, and keeps the claim for as long again. `false`: the piece was taken over.
    pub async fn note_calls(&self, claim: &Claim, hold: Seq, calls: Vec<Call>) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| {
            note_piece(batch, &claim, hold, &calls)?;
            let ours = owns(&batch.tx, &claim)?;
            if ours {
                let (job, lead) = (claim.job.id, claim.lead.as_ref().map_or(0, |lead| lead.id));
                batch.tx.execute(
                    "update work set lease_until = ?4 where workspace = ?1 and job = ?2 and lead = ?3",
                    values![claim.workspace, job, lead, batch.now.plus_seconds(LEASE_SECONDS)],
                )?;
            }
            Ok(ours)
        })
        .await
    }

    /// Notes a call that belongs to no piece of work.
    pub async fn note_call(&self, workspace: i64, about: About, call: Call) -> Result<(), Error> {
        self.write(workspace, move |batch| note(&batch.tx, workspace, &about, &call, batch.now)).await
    }

    /// What was asked so far to look up a field of a lead for a job, oldest first.
    pub async fn calls_for(
        &self,
        workspace: i64,
        job: i64,
        lead: i64,
        field: &str,
    ) -> Result<Vec<Noted>, Error> {
        let field = field.to_owned();
        self.read(move |tx| {
            let of = format!(
                "{CALL} where workspace = ?1 and lead = ?2 and lead > 0 and job = ?3 and field = ?4 order by hold, number"
            );
            tx.query(&of, values![workspace, lead, job, &field], read)
        })
        .await
    }

    /// What was asked about a lead, newest first; `before` is the place of a call.
    pub async fn calls_about(
        &self,
        workspace: i64,
        lead: i64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Noted>, Error> {
        self.read(move |tx| {
            let of = format!(
                "{CALL} where workspace = ?1 and lead = ?2 and lead > 0 and hold * {PLACES} + number < ?3
                 order by hold desc, number desc limit ?4"
            );
            tx.query(&of, values![workspace, lead, before.unwrap_or(i64::MAX), limit], read)
        })
        .await
    }

    /// What was asked under a hold, in order.
    pub async fn calls_under(&self, workspace: i64, hold: Seq) -> Result<Vec<Noted>, Error> {
        self.read(move |tx| {
            let of = format!("{CALL} where workspace = ?1 and hold = ?2 order by number");
            tx.query(&of, values![workspace, hold.0], read)
        })
        .await
    }

    /// What all calls from a day to before another came to. Days are counted in UTC, from 1970.
    pub async fn call_sums(&self, from: i64, to: i64) -> Result<Vec<Sum>, Error> {
        self.read(move |tx| {
            tx.query(
                "select workspace, operation, provider, cast(sum(calls) as bigint), cast(sum(found) as bigint), cast(sum(cost) as bigint)
                 from call_day where day >= ?1 and day < ?2 group by workspace, operation, provider
                 order by workspace, operation, provider",
                values![from, to],
                |row| {
                    let (operation, provider) = (row.text(1)?, row.text(2)?);
                    let (calls, found, cost) = (row.int(3)?, row.int(4)?, row.int(5)?);
                    Ok(Sum { workspace: row.int(0)?, operation, provider, calls, found, cost })
                },
            )
        })
        .await
    }
}
