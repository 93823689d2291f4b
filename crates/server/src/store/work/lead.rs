//! How leads move: past a piece, to their end, and out of a doubt that a hold's end resolves.
//!
//! Invariant: a lead in doubt stays where it is until its hold has ended.

use billing::account::{Bucket, HoldStatus, ReleaseReason};
use billing::campaign::{self, Finish, Position, Stage};
use billing::ledger::Command;
use billing::{Entry, EntryKind, Seq, Time};

use super::finish::end_search;
use super::hold::{give_back, return_left};
use super::{Claim, StepOutcome, WorkState, gate, lead_id, owns, position, position_code, wake};
use crate::store::Error;
use crate::store::batch::Batch;
use crate::store::committer::Post;
use crate::store::db::Tx;
use crate::store::jobs::{self, Job};
use crate::store::webhooks;
use crate::values;

/// The operation that writes a message: it has no effect outside, so that in doubt it is simply done again.
const WRITING: &str = "message_generation";

pub(super) fn pass_piece(batch: &mut Batch<'_>, claim: &Claim, next: campaign::Next) -> Result<(), Error> {
    let (workspace, now) = (claim.workspace, batch.now);
    if !owns(&batch.tx, claim)? {
        return Ok(());
    }
    return_left(batch, claim)?;
    let Some(job) = jobs::find(&batch.tx, workspace, claim.job.id)? else { return Ok(()) };
    let tx = &batch.tx;
    match next {
        campaign::Next::Have(_) => {
            let way = Way { from: claim.position, outcome: None, hold: None, sender: None };
            advance(tx, workspace, &job, lead_id(claim), way, now)
        }
        campaign::Next::Skip(_) => {
            let outcome = Some((StepOutcome::Skipped, "no address for this channel"));
            let way = Way { from: claim.position, outcome, hold: None, sender: None };
            advance(tx, workspace, &job, lead_id(claim), way, now)
        }
        campaign::Next::Finish(finish) => {
            let state = match finish {
                Finish::Completed => WorkState::Completed,
                Finish::Replied => WorkState::Replied,
                Finish::Blocked => WorkState::Blocked,
            };
            end_lead(tx, workspace, job.id, lead_id(claim), state)?;
            finish_if_done(tx, workspace, job.id, now)
        }
        _ => give_back(tx, claim, None, now),
    }
}

/// What a lead leaves behind when it goes on.
pub(super) struct Way<'a> {
    pub(super) from: Position,
    /// How its step ended; `None` for a field.
    pub(super) outcome: Option<(StepOutcome, &'a str)>,
    pub(super) hold: Option<Seq>,
    /// Who sent.
    pub(super) sender: Option<i64>,
}

/// Moves a lead past a position, and the job to its end when that was the last one.
pub(super) fn advance(
    tx: &Tx<'_>,
    workspace: i64,
    job: &Job,
    lead: i64,
    way: Way<'_>,
    now: Time,
) -> Result<(), Error> {
    let Way { from, outcome, hold, sender } = way;
    if let (Position::Step(step), Some((outcome, reason))) = (from, outcome) {
        tx.execute(
            "insert into step_result (workspace, job, step, lead, outcome, hold, sender, at, detail)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             on conflict (workspace, job, step, lead) do update set outcome = excluded.outcome, at = excluded.at,
               detail = excluded.detail",
            values![workspace, job.id, step, lead, outcome as i64, hold, sender, now, reason],
        )?;
    }
    let (to, due) = campaign::advance(&job.definition.plan(), from, job.run.running_time(now));
    let state = if due.is_some() { WorkState::Waiting } else { WorkState::Completed };
    let due = due.filter(|_| job.run.stage == Stage::Launched);
    let next_sender = if due.is_some() { gate::sticky(tx, workspace, job, lead, to)? } else { 0 };
    tx.execute(
        "update work set position = ?4, due = ?5, state = ?6, lease_until = 0, attempts = 0, cost = null, hold = null,
           sender = ?7, slot_day = null, detail = null where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, job.id, lead, position_code(to), due, state as i64, next_sender],
    )?;
    // A place may be free again at once; otherwise there is nothing new before the next step.
    let next = if job.definition.senders.is_empty() { due } else { Some(0) };
    if let Some(due) = next {
        wake(tx, workspace, job.id, Time(now.0 + (due - job.run.running_time(now)).max(0)))?;
    }
    finish_if_done(tx, workspace, job.id, now)
}

fn end_lead(tx: &Tx<'_>, workspace: i64, job: i64, lead: i64, state: WorkState) -> Result<(), Error> {
    tx.execute(
        "update work set due = null, state = ?4, lease_until = 0, slot_day = null where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, job, lead, state as i64],
    )?;
    Ok(())
}

/// Ends a launched job when nothing of it is due, at work or in doubt.
pub fn finish_if_done(tx: &Tx<'_>, workspace: i64, id: i64, now: Time) -> Result<(), Error> {
    let left = tx.one(
        "select 1 from work where workspace = ?1 and job = ?2 and due is not null
         union all select 1 from work where workspace = ?1 and job = ?2 and state in (1, 6) and hold is not null limit 1",
        values![workspace, id],
        |row| row.int(0),
    )?;
    let any = || {
        tx.one("select 1 from work where workspace = ?1 and job = ?2", values![workspace, id], |row| {
            row.int(0)
        })
    };
    if left.is_some() || any()?.is_none() {
        return Ok(());
    }
    if let Some(mut job) = jobs::find(tx, workspace, id)?.filter(|job| job.run.stage == Stage::Launched) {
        job.run.end(Stage::Completed, now);
        jobs::save_run(tx, workspace, id, &job.run, now)?;
        webhooks::campaign(tx, workspace, &job, webhooks::Kind::CampaignCompleted, now)?;
    }
    Ok(())
}

/// A lead answered: its waiting work in every campaign ends. Work at a provider ends under its hold.
pub fn stop_lead(batch: &mut Batch<'_>, workspace: i64, lead: i64) -> Result<(), Error> {
    let jobs = batch.tx.query(
        "select w.job from work w join job j on j.workspace = w.workspace and j.id = w.job
         where w.workspace = ?1 and w.lead = ?2 and w.due is not null and w.lease_until = 0 and j.kind = 0",
        values![workspace, lead],
        |row| row.int(0),
    )?;
    for job in jobs {
        end_lead(&batch.tx, workspace, job, lead, WorkState::Replied)?;
        finish_if_done(&batch.tx, workspace, job, batch.now)?;
    }
    batch.look_again(workspace)
}

/// Follows a hold that belongs to a piece of work: counts its credits, marks the work as in doubt, and moves a lead on whose
/// doubt has ended. A step that stayed in doubt until its deadline counts as sent.
pub fn hold_changed(batch: &mut Batch<'_>, workspace: i64, entry: &Entry) -> Result<(), Error> {
    let (Some(hold), Some(price)) = (entry.hold, &entry.price) else { return Ok(()) };
    let (tx, now) = (&batch.tx, batch.now);
    let found = tx.one(
        "select job, lead, position, state from work where workspace = ?1 and hold = ?2",
        values![workspace, hold],
        |row| Ok((row.int(0)?, row.int(1)?, position(row.int(2)?), row.int(3)?)),
    )?;
    let Some((id, lead, from, state)) = found else { return Ok(()) };
    if entry.kind == EntryKind::Doubt && &*price.operation == WRITING {
        return write_again(batch, workspace, hold);
    }
    if entry.kind == EntryKind::Doubt {
        return begin_doubt(tx, workspace, hold, (id, lead, from), now);
    }
    if !matches!(entry.kind, EntryKind::Charge | EntryKind::Release) {
        return Ok(());
    }
    count_credits(tx, workspace, id, entry, price.amount(), now)?;
    if state != WorkState::InDoubt as i64 {
        return Ok(());
    }
    let Some(job) = jobs::find(tx, workspace, id)? else { return Ok(()) };
    if lead == 0 {
        // A page that nobody can vouch for ends its search: asking again could pay twice.
        return end_search(tx, workspace, &job, Stage::Failed, now);
    }
    let happened = entry.kind == EntryKind::Charge || entry.release_reason == Some(ReleaseReason::Deadline);
    let outcome = if happened {
        (StepOutcome::Sent, "resolved")
    } else {
        (StepOutcome::Failed, "not sent, says the operator")
    };
    let way = Way { from, outcome: Some(outcome), hold: Some(hold), sender: None };
    advance(tx, workspace, &job, lead, way, now)
}

/// Marks a piece as in doubt: nobody claims it until its hold has ended.
fn begin_doubt(
    tx: &Tx<'_>,
    workspace: i64,
    hold: Seq,
    (id, lead, from): (i64, i64, Position),
    now: Time,
) -> Result<(), Error> {
    tx.execute(
        "update work set state = 1, due = null, lease_until = 0, slot_day = null where workspace = ?1 and hold = ?2",
        values![workspace, hold],
    )?;
    if let Position::Step(step) = from {
        tx.execute(
            "insert into step_result (workspace, job, step, lead, outcome, hold, sender, at)
             values (?1, ?2, ?3, ?4, 3, ?5, (select case when sender > 0 then sender end from work where workspace = ?1 and job = ?2
               and lead = ?4), ?6)
             on conflict (workspace, job, step, lead) do nothing",
            values![workspace, id, step, lead, hold, now],
        )?;
    }
    Ok(())
}

/// Keeps what a job has used and holds. A late charge takes nothing out of held: the release before it already did.
fn count_credits(
    tx: &Tx<'_>,
    workspace: i64,
    job: i64,
    entry: &Entry,
    amount: i64,
    now: Time,
) -> Result<(), Error> {
    let from_held = entry.postings.iter().filter(|posting| posting.from == Bucket::Held);
    let held: i64 = from_held.map(|posting| posting.credits).sum();
    let used = if entry.kind == EntryKind::Charge { amount } else { 0 };
    tx.execute(
        "update job set credits_held = credits_held - ?3, credits_used = credits_used + ?4,
           rests_until = case when rests_until > ?5 then ?5 else rests_until end where workspace = ?1 and id = ?2",
        values![workspace, job, held, used, now],
    )?;
    Ok(())
}

/// Gives the credits of a message in doubt back and lets the piece be claimed again. Its step was not sent, so it must not
/// wait for a deadline that would count it as sent.
fn write_again(batch: &mut Batch<'_>, workspace: i64, hold: Seq) -> Result<(), Error> {
    if batch.hold(workspace, hold)?.is_none_or(|hold| hold.status != HoldStatus::InDoubt) {
        // The same post has already ended it.
        return Ok(());
    }
    batch.post(&Post::new(workspace, Command::Release(hold), "campaign"))?;
    batch.tx.execute(
        "update work set hold = null, lease_until = 0, slot_day = null where workspace = ?1 and hold = ?2",
        values![workspace, hold],
    )?;
    Ok(())
}
