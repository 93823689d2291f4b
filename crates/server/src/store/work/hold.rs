//! The beginning of a paid piece: its credits set aside, and the commit that lets its call go out.
//!
//! Invariant: no call goes out for a lead, a job or a lease that changed since it was claimed.

use billing::Refusal;
use billing::account::HoldStatus;
use billing::campaign::{Reason, Stage};
use billing::ledger::{Command, HoldTerms};
use billing::{Seq, Time};

use super::finish::{detail, give_place_back};
use super::{Claim, Held, lead_id, owns, wake};
use crate::store::batch::Batch;
use crate::store::committer::Post;
use crate::store::db::Tx;
use crate::store::jobs::{self, Job, JobKind, Pause};
use crate::store::leads::EmailState;
use crate::store::{Error, alerts, budgets, leads};
use crate::values;

/// How long a job rests whose next piece waits for pieces elsewhere to end, in seconds.
const WAIT_SECONDS: i64 = 10;

pub(super) fn hold_piece(batch: &mut Batch<'_>, claim: &Claim, terms: &HoldTerms) -> Result<Held, Error> {
    let workspace = claim.workspace;
    if !owns(&batch.tx, claim)? {
        return Ok(Held::No);
    }
    let Some(mut job) = jobs::find(&batch.tx, workspace, claim.job.id)? else { return Ok(Held::No) };
    let needed = terms.price.amount();
    return_left(batch, claim)?;
    if job.run.running_since.is_none() {
        let misses = job.run.reasons.keys().eq(&[Reason::OutOfCredits]);
        give_back(&batch.tx, claim, misses.then_some(needed), batch.now)?;
        if misses {
            alerts::misses(batch, workspace, needed)?;
        }
        return Ok(Held::No);
    }
    if over_cap(batch, &mut job, workspace, needed)? {
        return wait(batch, claim, "the cap is taken by pieces whose end is open").map(|()| Held::No);
    }
    let mut post = Post::new(workspace, Command::Hold(terms.clone()), "campaign");
    post.background = true;
    match batch.post(&post) {
        Ok(answer) => {
            let hold = answer.hold.ok_or(Error::NotFound)?;
            batch.tx.execute(
                "update work set hold = ?4, cost = null where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, job.id, lead_id(claim), hold.id],
            )?;
            batch.tx.execute(
                "update job set credits_held = credits_held + ?3 where workspace = ?1 and id = ?2",
                values![workspace, job.id, needed],
            )?;
            Ok(Held::Yes(Box::new(hold)))
        }
        Err(Error::OverBudget(over)) => {
            if !over.may_pass {
                budgets::pause(batch, workspace, &mut job, &over)?;
            }
            wait(batch, claim, "a limit is taken by pieces whose end is open").map(|()| Held::No)
        }
        Err(Error::Refused(Refusal::TooManyOpenHolds)) => {
            wait(batch, claim, "too many pieces are under way or in doubt").map(|()| Held::No)
        }
        Err(Error::Refused(refusal)) => {
            let cost =
                if let Refusal::InsufficientCredits { needed, .. } = refusal { Some(needed) } else { None };
            give_back(&batch.tx, claim, cost, batch.now)?;
            Ok(Held::No)
        }
        Err(error) => Err(error),
    }
}

/// Ends a claim that waits for pieces to end that may be in doubt for days: its job asks again after a while.
fn wait(batch: &Batch<'_>, claim: &Claim, why: &str) -> Result<(), Error> {
    give_back(&batch.tx, claim, None, batch.now)?;
    detail(&batch.tx, claim, why)?;
    batch.tx.execute(
        "update job set rests_until = ?3 where workspace = ?1 and id = ?2",
        values![claim.workspace, claim.job.id, batch.now.plus_seconds(WAIT_SECONDS)],
    )?;
    Ok(())
}

/// Whether a piece would take its job over its cap; the job then pauses.
fn over_cap(batch: &Batch<'_>, job: &mut Job, workspace: i64, needed: i64) -> Result<bool, Error> {
    let Some(cap) = job.credit_cap.filter(|cap| job.credits_used + job.credits_held + needed > *cap) else {
        return Ok(false);
    };
    // Credits held by its other leads may come back: the cap is reached only when they cannot help.
    if job.credits_used + needed > cap {
        let why = Pause {
            reason: Reason::CreditCap,
            since: batch.now,
            needed: Some(needed),
            available: None,
            by: None,
        };
        jobs::pause(&batch.tx, workspace, job, &why, batch.now)?;
        budgets::notice::cap(batch, workspace, job, needed)?;
    }
    Ok(true)
}

pub(super) fn dispatch_piece(batch: &mut Batch<'_>, claim: &Claim, hold: Seq) -> Result<bool, Error> {
    let workspace = claim.workspace;
    if !owns(&batch.tx, claim)? {
        return Ok(false);
    }
    let dispatched = if may_go(batch, claim)? {
        batch.post(&Post::new(workspace, Command::Dispatch { hold, epoch: claim.epoch }, "campaign"))
    } else {
        Err(Error::NotFound)
    };
    match dispatched {
        Ok(_) => Ok(true),
        Err(error) if error.is_answer() => {
            let released = batch.post(&Post::new(workspace, Command::Release(hold), "campaign"));
            released.map(drop).or_else(|error| if error.is_answer() { Ok(()) } else { Err(error) })?;
            forget_hold(&batch.tx, claim)?;
            give_back(&batch.tx, claim, None, batch.now)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the call of a held piece may still be made: reply, bounce, blocklist and pauses are looked at once more.
fn may_go(batch: &Batch<'_>, claim: &Claim) -> Result<bool, Error> {
    let workspace = claim.workspace;
    // A hold that took the last credits has paused everything, its own job included. It is paid for, so its call goes out.
    let running = jobs::find(&batch.tx, workspace, claim.job.id)?.is_some_and(|job| {
        let reasons = &job.run.reasons;
        job.run.stage == Stage::Launched && reasons.keys().all(|reason| *reason == Reason::OutOfCredits)
    });
    if !running {
        return Ok(false);
    }
    let Some(known) = &claim.lead else { return Ok(true) };
    let Some(lead) = leads::find(&batch.tx, workspace, known.id)? else { return Ok(false) };
    let replied = lead.replied_at.is_some() && claim.job.kind == JobKind::Campaign;
    let bounced = lead.email_state == EmailState::Bounced && known.email_state != EmailState::Bounced;
    Ok(!replied && !bounced && !leads::blocked(&batch.tx, workspace, &lead)?)
}

/// An earlier claim ended between its hold and its dispatch: nothing went out, so its credits come back before anything else.
pub(in crate::store) fn return_left(batch: &mut Batch<'_>, claim: &Claim) -> Result<(), Error> {
    match &claim.hold {
        Some(left) if left.status == HoldStatus::Open => end_open(batch, claim.workspace, left.id),
        _ => Ok(()),
    }
}

/// Ends a hold that no call was made for.
pub(super) fn end_open(batch: &mut Batch<'_>, workspace: i64, hold: Seq) -> Result<(), Error> {
    match batch.post(&Post::new(workspace, Command::Release(hold), "campaign")) {
        Err(error) if !error.is_answer() => return Err(error),
        // It may have ended otherwise meanwhile; then there is nothing to return.
        _ => {}
    }
    let forget = "update work set hold = null where workspace = ?1 and hold = ?2";
    batch.tx.execute(forget, values![workspace, hold])?;
    Ok(())
}

/// Ends a claim that has nothing to do.
pub(in crate::store) fn put_back(batch: &mut Batch<'_>, claim: &Claim) -> Result<(), Error> {
    return_left(batch, claim)?;
    give_back(&batch.tx, claim, None, batch.now)
}

/// Ends a claim without moving the lead. A job that ended meanwhile has nothing due any more.
pub(super) fn give_back(tx: &Tx<'_>, claim: &Claim, cost: Option<i64>, now: Time) -> Result<(), Error> {
    give_place_back(tx, claim)?;
    tx.execute(
        "update work set lease_until = 0, cost = ?4, slot_day = null, due = case when (select stage from job where workspace = ?1 and id = ?2) = 1
           then due end where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim), cost],
    )?;
    wake(tx, claim.workspace, claim.job.id, now)
}

pub(super) fn forget_hold(tx: &Tx<'_>, claim: &Claim) -> Result<(), Error> {
    tx.execute(
        "update work set hold = null where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim)],
    )?;
    Ok(())
}
