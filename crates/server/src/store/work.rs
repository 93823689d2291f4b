//! The list of work: which lead of which job is due, who works on it, and how each piece ends.
//!
//! Owns claims (a lease and an epoch) and what may be done with them: hold (`hold`), finish (`finish`), and how leads move
//! (`lead`). It does *not* call anybody: the runner does, between these commits.
//!
//! Invariant: a piece ends only under the epoch that claimed it, and its charge and its lead's next position are one commit.

mod facts;
mod finish;
mod gate;
mod hold;
mod lead;

use billing::account::{Hold, HoldStatus};
use billing::campaign::{self, Facts, Position, Stage};
use billing::ledger::HoldTerms;
use billing::{Seq, Time};
use futures_util::future::join_all;

use super::batch::Batch;
use super::calls::Call;
use super::db::Tx;
use super::jobs::{self, Job};
use super::leads::{self, Lead};
use super::senders::{Sender, Slot};
use super::{Error, Store};
use crate::{clock, values};

use facts::{facts, stored_text};
pub use gate::{Away, Closed, Need};
pub(in crate::store) use hold::{put_back, return_left};
pub use lead::{finish_if_done, hold_changed, stop_lead};

/// How long a claim lasts, in seconds: longer than three attempts of the slowest provider.
pub(in crate::store) const LEASE_SECONDS: i64 = 300;

/// Where the positions of steps begin in the stored number.
pub const STEPS: i64 = 1_000;

/// When a lead is due that waits for a person: never by itself. Far away, but not so far that a sum overflows.
pub const ON_APPROVAL: i64 = 1 << 60;

/// How a lead stands in a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum WorkState {
    Waiting = 0,
    InDoubt = 1,
    Completed = 2,
    Replied = 3,
    Blocked = 4,
    Failed = 5,
    /// A person must approve its message first.
    Review = 6,
}

/// How a step ended for a lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum StepOutcome {
    Sent = 0,
    Skipped = 1,
    Failed = 2,
    InDoubt = 3,
}

/// A piece of work that one runner has for the time of its lease.
#[derive(Clone, Debug)]
pub struct Claim {
    pub workspace: i64,
    pub job: Job,
    /// `None` for a page of a search.
    pub lead: Option<Lead>,
    pub position: Position,
    pub epoch: i64,
    pub attempts: i64,
    pub facts: Facts,
    /// The stored message of the step that comes next.
    pub message: Option<String>,
    /// Who sends, and the place that is taken there; `None`: the server's own, without limits.
    pub sender: Option<Sender>,
    pub slot: Option<Slot>,
    /// A hold that an earlier claim left behind.
    pub hold: Option<Hold>,
    /// What can be spent now.
    pub available: i64,
    /// What was heard under this claim and is not noted yet.
    pub heard: Vec<Call>,
}

/// How a piece ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// A field was looked up. `filled` is the lead with it, when there is something to store; `charged` when it counts.
    LookedUp { filled: Option<Box<Lead>>, charged: bool },
    /// A message was written.
    Wrote(String),
    /// A step was accepted.
    Sent,
    /// A step was not accepted: free, and the lead goes on.
    NotSent(StepOutcome, String),
    /// A page of results.
    Page { leads: Vec<Lead>, next_cursor: Option<String> },
    /// A passing failure: given back, tried again later; not before so many seconds.
    Later(String, i64),
    /// The item failed for good: given back, and the lead goes on.
    Failed(String),
    /// The provider refuses us: given back, the lead stays, the job pauses.
    Unavailable(String),
    /// Nobody knows whether it happened.
    Doubt(String),
}

/// What became of a hold for a piece.
#[derive(Debug)]
pub enum Held {
    /// It is held.
    Yes(Box<Hold>),
    /// It is not, and the lead waits: too few credits, the cap, or somebody else has the piece.
    No,
}

/// The stored number of a position.
pub fn position_code(position: Position) -> i64 {
    match position {
        Position::Enrich(index) => index as i64,
        Position::Step(index) => STEPS + index as i64,
    }
}

/// The position behind a stored number.
pub fn position(code: i64) -> Position {
    if code < STEPS { Position::Enrich(code as usize) } else { Position::Step((code - STEPS) as usize) }
}

/// Adds a lead (0: the search itself) to a job; 0 when it is there already.
pub fn add(
    tx: &Tx<'_>,
    workspace: i64,
    job: i64,
    lead: i64,
    begin: (i64, Option<i64>),
) -> Result<i64, Error> {
    let (position, due) = begin;
    let added = tx.execute(
        "insert into work (workspace, job, lead, position, due, epoch, lease_until, state, attempts, sender)
         values (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, 0, 0) on conflict (workspace, job, lead) do nothing",
        values![
            workspace,
            job,
            lead,
            position,
            due,
            if due.is_some() { 0 } else { WorkState::Completed as i64 }
        ],
    )?;
    Ok(added as i64)
}

/// What the oldest due piece costs among those that credits were missing for and that wait for nothing else.
pub fn oldest_due_cost(tx: &Tx<'_>, workspace: i64) -> Result<Option<i64>, Error> {
    tx.one(
        "select w.cost from job j join work w on w.workspace = j.workspace and w.job = j.id
         where j.workspace = ?1 and j.stage = 1 and w.cost is not null and w.due <= j.ran
           and not exists (select 1 from pause p where p.workspace = j.workspace and p.job = j.id and p.reason <> 0)
         order by j.ran - w.due desc, w.job, w.lead limit 1",
        values![workspace],
        |row| row.int(0),
    )
}

impl Claim {
    /// The hold of an earlier claim whose call went out, without anybody knowing how it ended.
    pub fn left_dispatched(&self) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.status == HoldStatus::Dispatched)
    }
}

impl Store {
    /// Claims up to `limit` pieces that are due: jobs take turns, each gives its latest steps and of these the oldest.
    pub async fn claim(&self, limit: usize) -> Result<Vec<Claim>, Error> {
        self.claim_but(limit, &Away::default()).await
    }

    /// The same, without the pieces that need somebody who is away.
    pub async fn claim_but(&self, limit: usize, away: &Away) -> Result<Vec<Claim>, Error> {
        let now = self.clock().now();
        let jobs = self.read(move |tx| due_jobs(tx, limit, now)).await?;
        let share = (limit / jobs.len().max(1)).max(1);
        // Side by side, so that they share a commit.
        let claims = jobs.into_iter().map(|(workspace, id)| {
            let closed = away.of(workspace);
            self.write(workspace, move |batch| claim(batch, workspace, id, share, &closed))
        });
        let (mut claimed, mut failed) = (Vec::new(), None);
        for claims in join_all(claims).await {
            match claims {
                Ok(claims) => claimed.extend(claims),
                Err(error) => failed = Some(error),
            }
        }
        // What was claimed is worked on, whatever became of the others.
        failed.filter(|_| claimed.is_empty()).map_or(Ok(claimed), Err)
    }

    /// Sets the credits of a piece aside.
    pub async fn hold_piece(&self, claim: &Claim, terms: HoldTerms) -> Result<Held, Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| hold::hold_piece(batch, &claim, &terms)).await
    }

    /// Commits that the call is about to be made, unless the lead, the job or the lease changed meanwhile.
    pub async fn dispatch_piece(&self, claim: &Claim, hold: Seq) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| hold::dispatch_piece(batch, &claim, hold)).await
    }

    /// Ends a piece: the hold, the result and the lead's next position in one commit. `false` when the piece was taken over.
    pub async fn finish_piece(
        &self,
        claim: &Claim,
        hold: Option<Seq>,
        ending: Ending,
    ) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| finish::finish_piece(batch, &claim, hold, &ending)).await
    }

    /// Moves a lead past a piece that needs no call: a field it has, a step it cannot get, the end.
    pub async fn pass_piece(&self, claim: &Claim, next: campaign::Next) -> Result<(), Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| lead::pass_piece(batch, &claim, next)).await
    }

    /// The next moment after now at which a piece becomes due.
    pub async fn next_piece(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            let next = tx.one(
                "select min(j.running_since - j.ran + (select min(w.due) from work w
                   where w.workspace = j.workspace and w.job = j.id and w.due > j.ran + ?1 - j.running_since))
                 from job j where j.running_since is not null",
                values![now],
                |row| row.opt_time(0),
            )?;
            // A job that has nothing to do looks again when something is due or somebody opens.
            let rested =
                "select min(rests_until) from job where running_since is not null and rests_until > ?1";
            let rested = tx.one(rested, values![now], |row| row.opt_time(0))?.flatten();
            // What another node has had in hand when it ended is taken up when its lease lapses.
            let lapse = "select min(lease_until) from work where slot_day is not null and lease_until > ?1";
            let lapse = tx.one(lapse, values![now], |row| row.opt_time(0))?.flatten();
            Ok(next.flatten().into_iter().chain(rested).chain(lapse).min())
        })
        .await
    }
}

/// The jobs that may have something to do that can be paid, the one served longest ago first. A job that found nothing to do
/// rests until there may be, so that thousands of them cost nothing. Before them those in which a claim broke off, also when they
/// are paused: what is held there is not held any longer than it must.
fn due_jobs(tx: &Tx<'_>, limit: usize, now: Time) -> Result<Vec<(i64, i64)>, Error> {
    let mut jobs = tx.query(
        "select distinct w.workspace, w.job from work w join job j on j.workspace = w.workspace and j.id = w.job
         where w.slot_day is not null and w.hold is not null and w.lease_until <= ?1 and j.stage = 1 limit ?2",
        values![now, limit],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    let due = tx.query(
        "select j.workspace, j.id from job j join account a on a.workspace = j.workspace
         where j.running_since is not null and j.rests_until <= ?1 and a.out_since is null and (a.needed is null or a.needed <= a.available)
         order by j.rests_until, j.served limit ?2",
        values![now, limit],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    for job in due {
        if jobs.len() < limit && !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// Claims what is due of a job. Whoever comes second finds it leased.
fn claim(
    batch: &mut Batch<'_>,
    workspace: i64,
    id: i64,
    limit: usize,
    closed: &Closed,
) -> Result<Vec<Claim>, Error> {
    let now = batch.now;
    batch.load(workspace)?;
    let (cached, mut claims) = (batch.cached(workspace), Vec::new());
    let (available, watch) = (cached.account.available, cached.watch);
    let waits = watch.out_since.is_some() || watch.needed.is_some_and(|needed| needed > available);
    let job = jobs::find(&batch.tx, workspace, id)?;
    let Some(job) = job.filter(|job| job.run.stage == Stage::Launched) else { return Ok(claims) };
    let (due, rests_until) = if job.run.running_since.is_some() && !waits {
        gate::due(batch, workspace, &job, limit, closed)?
    } else {
        (gate::left(batch, workspace, &job, limit)?, now)
    };
    for Due { lead, position, epoch, hold, attempts, sender, slot } in due {
        // It says that it is at work, also when it takes no place.
        let slot_day = slot.map_or(gate::NO_PLACE, |slot| slot.day);
        batch.tx.execute(
            "update work set epoch = ?4, lease_until = ?5, slot_day = ?6, sender = coalesce(?7, sender)
             where workspace = ?1 and job = ?2 and lead = ?3",
            values![
                workspace,
                id,
                lead,
                epoch,
                now.plus_seconds(LEASE_SECONDS),
                slot_day,
                sender.as_ref().map(|sender| sender.id)
            ],
        )?;
        let hold = hold.map(|hold| batch.hold(workspace, Seq(hold))).transpose()?.flatten();
        let lead = leads::find(&batch.tx, workspace, lead)?;
        let (facts, message) = facts(&batch.tx, workspace, &job, lead.as_ref(), position)?;
        let job = job.clone();
        claims.push(Claim {
            workspace,
            job,
            lead,
            position,
            epoch,
            attempts,
            facts,
            message,
            sender,
            slot,
            hold,
            available,
            heard: Vec::new(),
        });
    }
    batch.tx.execute(
        "update job set served = ?3, rests_until = ?4 where workspace = ?1 and id = ?2",
        values![workspace, id, clock::fresh_id(), rests_until],
    )?;
    Ok(claims)
}

/// A piece that is due, and what it is sent with.
struct Due {
    lead: i64,
    position: Position,
    epoch: i64,
    hold: Option<i64>,
    attempts: i64,
    sender: Option<Sender>,
    slot: Option<Slot>,
}

/// Something of a job may be due or possible from a moment on: it does not rest any longer than that.
pub(in crate::store) fn wake(tx: &Tx<'_>, workspace: i64, job: i64, at: Time) -> Result<(), Error> {
    tx.execute(
        "update job set rests_until = ?3 where workspace = ?1 and id = ?2 and rests_until > ?3",
        values![workspace, job, at],
    )?;
    Ok(())
}

fn lead_id(claim: &Claim) -> i64 {
    claim.lead.as_ref().map_or(0, |lead| lead.id)
}

/// Whether the piece still belongs to this claim.
pub(in crate::store) fn owns(tx: &Tx<'_>, claim: &Claim) -> Result<bool, Error> {
    let epoch = tx.one(
        "select epoch from work where workspace = ?1 and job = ?2 and lead = ?3 and due is not null",
        values![claim.workspace, claim.job.id, lead_id(claim)],
        |row| row.int(0),
    )?;
    Ok(epoch == Some(claim.epoch))
}
