//! The end of a piece: its result, its charge and its lead's next position in one commit.
//!
//! Invariant: a result is stored and paid together, or not at all.

use billing::account::{Hold, HoldStatus};
use billing::campaign::{Position, Reason, Stage};
use billing::ledger::Command;
use billing::{Seq, Time};

use super::hold::{forget_hold, give_back, return_left};
use super::lead::{Way, advance};
use super::{Claim, Ending, StepOutcome, lead_id, owns, stored_text};
use crate::store::Error;
use crate::store::batch::Batch;
use crate::store::calls;
use crate::store::committer::Post;
use crate::store::db::Tx;
use crate::store::jobs::{self, Job, Pause};
use crate::store::leads::{self, Lead};
use crate::store::messages::{Place, Text};
use crate::store::senders;
use crate::values;

/// How often one piece is tried again after a passing failure before its lead goes on without it.
const MAX_ATTEMPTS: i64 = 12;
/// How long a provider may ask to be left alone, in seconds: a day.
const MAX_PAUSE_SECONDS: i64 = 86_400;
/// How many results that a workspace owns already one search passes by; then there is no use in asking for more.
const MOST_KNOWN: i64 = 100_000;
/// How often a message that is empty, refused or cut off is written again, for free.
const MAX_WRITES: i64 = 3;

pub(super) fn finish_piece(
    batch: &mut Batch<'_>,
    claim: &Claim,
    hold: Option<Seq>,
    ending: &Ending,
) -> Result<bool, Error> {
    let open = match hold {
        Some(id) => {
            calls::note_piece(batch, claim, id, &claim.heard)?;
            // A hold that has just run out goes in doubt before it is looked at: the answer then ends a doubt, as it would have later.
            batch.post(&Post::new(claim.workspace, Command::Sweep, "system"))?;
            batch.hold(claim.workspace, id)?.filter(Hold::is_open)
        }
        None => None,
    };
    if hold.is_some() && open.is_none() {
        return Ok(false);
    }
    if let Some(open) = open.as_ref().filter(|hold| hold.status == HoldStatus::InDoubt) {
        if let Ending::Doubt(reason) = ending {
            detail(&batch.tx, claim, reason)?;
            return Ok(true);
        }
        end_doubt(&batch.tx, claim, open.id)?;
    }
    if !owns(&batch.tx, claim)? {
        return Ok(false);
    }
    if hold.is_none() {
        return_left(batch, claim)?;
    }
    let Some(mut job) = jobs::find(&batch.tx, claim.workspace, claim.job.id)? else { return Ok(false) };
    end_hold(batch, claim, &mut job, open.as_ref(), ending)?;
    if !stays(batch, claim, &mut job, ending)? {
        go_on(batch, claim, &job, hold, ending)?;
    }
    Ok(true)
}

/// The hold ran out before the answer came and went in doubt by itself. Nothing in doubt is claimed, so the piece is still this
/// claim's, and its answer ends the doubt.
fn end_doubt(tx: &Tx<'_>, claim: &Claim, hold: Seq) -> Result<(), Error> {
    let (workspace, job, lead) = (claim.workspace, claim.job.id, lead_id(claim));
    let ended = tx.execute(
        "update work set state = 0, due = (select ran from job where workspace = ?1 and id = ?2)
         where workspace = ?1 and job = ?2 and lead = ?3 and hold = ?4 and epoch = ?5 and state = 1",
        values![workspace, job, lead, hold, claim.epoch],
    )?;
    if ended > 0 {
        tx.execute(
            "delete from step_result where workspace = ?1 and job = ?2 and lead = ?3 and hold = ?4 and outcome = 3",
            values![workspace, job, lead, hold],
        )?;
    }
    Ok(())
}

/// Stores what a call brought, and ends the hold that paid for it accordingly.
fn end_hold(
    batch: &mut Batch<'_>,
    claim: &Claim,
    job: &mut Job,
    open: Option<&Hold>,
    ending: &Ending,
) -> Result<(), Error> {
    let (settled, attempted) = store_result(batch, claim, job, open, ending)?;
    let Some(open) = open else { return Ok(()) };
    let command = match ending {
        Ending::Doubt(_) => Command::Doubt(open.id),
        Ending::Later(..) | Ending::Unavailable(_) => Command::Release(open.id),
        _ => Command::Settle {
            hold: open.id,
            quantity: settled,
            attempted: Some(attempted.min(open.price.quantity)),
        },
    };
    let mut post = Post::new(claim.workspace, command, "campaign");
    if matches!(ending, Ending::LookedUp { .. }) && settled > 0 {
        let finder = claim.heard.iter().find(|call| call.heard == calls::Heard::Found);
        post.reason = finder.map(|call| format!("found by {}", call.provider).into());
    }
    batch.post(&post).map(drop)
}

/// Leaves the lead where it is, after the endings that call for it. `false`: it goes on.
fn stays(batch: &Batch<'_>, claim: &Claim, job: &mut Job, ending: &Ending) -> Result<bool, Error> {
    let (tx, workspace, now) = (&batch.tx, claim.workspace, batch.now);
    match ending {
        // The end of the hold has marked the work as in doubt; what remains is why.
        Ending::Doubt(reason) => detail(tx, claim, reason)?,
        Ending::Later(reason, after) if claim.attempts + 1 < MAX_ATTEMPTS => {
            let asked = (*after).clamp(0, MAX_PAUSE_SECONDS) * 1_000_000;
            let pause = (60_000_000_i64 << claim.attempts.min(8)).max(asked);
            forget_hold(tx, claim)?;
            give_place_back(tx, claim)?;
            tx.execute(
                "update work set lease_until = 0, attempts = attempts + 1, detail = ?5, slot_day = null,
                   due = case when (select stage from job where workspace = ?1 and id = ?2) = 1 then ?4 end
                 where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, job.id, lead_id(claim), job.run.running_time(now) + pause, reason],
            )?;
        }
        Ending::Unavailable(reason) => {
            forget_hold(tx, claim)?;
            give_back(tx, claim, None, now)?;
            detail(tx, claim, reason)?;
            let why = Pause {
                reason: Reason::Provider,
                since: now,
                needed: None,
                available: None,
                by: Some(reason.clone()),
            };
            jobs::pause(tx, workspace, job, &why, now)?;
        }
        Ending::Failed(reason) if rewrites(claim) => {
            forget_hold(tx, claim)?;
            give_back(tx, claim, None, now)?;
            tx.execute(
                "update work set attempts = attempts + 1, detail = ?4 where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, job.id, lead_id(claim), reason],
            )?;
        }
        Ending::Wrote(_) => {
            // The message is there; the same step is still to be sent, at once.
            forget_hold(tx, claim)?;
            give_back(tx, claim, None, now)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Moves the lead past the piece, or the search to its next page or its end.
fn go_on(
    batch: &mut Batch<'_>,
    claim: &Claim,
    job: &Job,
    hold: Option<Seq>,
    ending: &Ending,
) -> Result<(), Error> {
    let (workspace, now) = (claim.workspace, batch.now);
    let outcome = match ending {
        Ending::Sent => Some((StepOutcome::Sent, "")),
        Ending::NotSent(outcome, reason) => Some((*outcome, reason.as_str())),
        Ending::Failed(reason) | Ending::Later(reason, _) => Some((StepOutcome::Failed, reason.as_str())),
        _ => None,
    };
    forget_hold(&batch.tx, claim)?;
    if !matches!(ending, Ending::Sent) {
        give_place_back(&batch.tx, claim)?;
    }
    if let Ending::Page { next_cursor, .. } = ending {
        return turn_page(batch, claim, job, next_cursor.is_some());
    }
    let tx = &batch.tx;
    if claim.lead.is_none() {
        give_back(tx, claim, None, now)?;
        return end_search(tx, workspace, job, Stage::Failed, now);
    }
    let sender = claim.sender.as_ref().map(|sender| sender.id);
    let way = Way { from: claim.position, outcome, hold, sender };
    advance(tx, workspace, job, lead_id(claim), way, now)
}

/// The place of a sender that a claim took and certainly did not use.
pub(super) fn give_place_back(tx: &Tx<'_>, claim: &Claim) -> Result<(), Error> {
    claim.slot.map_or(Ok(()), |slot| senders::give_back(tx, claim.workspace, slot))
}

fn rewrites(claim: &Claim) -> bool {
    let Position::Step(index) = claim.position else { return false };
    let writes =
        claim.job.definition.steps.get(index).is_some_and(|step| step.generate) && !claim.facts.written;
    writes && claim.attempts + 1 < MAX_WRITES
}

/// Stores what a call brought. Answers how many units count, and how many were tried.
fn store_result(
    batch: &mut Batch<'_>,
    claim: &Claim,
    job: &mut Job,
    hold: Option<&Hold>,
    ending: &Ending,
) -> Result<(i64, i64), Error> {
    let (tx, workspace, now) = (&batch.tx, claim.workspace, batch.now);
    match ending {
        Ending::LookedUp { filled, charged } => {
            let stored = match filled {
                Some(lead) => save_found(tx, workspace, lead)?,
                None => false,
            };
            // What another lead of the workspace already has is not paid again.
            let charged = i64::from(*charged && stored);
            count(tx, workspace, job.id, "delivered", charged)?;
            Ok((charged, 1))
        }
        Ending::Wrote(text) => {
            let Position::Step(step) = claim.position else { return Ok((0, 1)) };
            // A person had it written meanwhile: that one is kept, and a step's message is paid once.
            if stored_text(tx, workspace, job.id, lead_id(claim), step)?.is_some() {
                return Ok((0, 1));
            }
            let place = Place { job: job.id, lead: lead_id(claim), step };
            let credits = hold.map_or(0, |hold| hold.price.amount());
            Text { text, hold: hold.map(|hold| hold.id), credits }.save(tx, workspace, place, now)?;
            Ok((1, 1))
        }
        Ending::Sent => Ok((1, 1)),
        Ending::Page { leads: found, next_cursor } => {
            let room = hold.map_or(0, |hold| hold.price.quantity);
            let (mut new, mut known) = (0, 0);
            let found = &found[..found.len().min(usize::try_from(room).unwrap_or(0))];
            leads::learn_fields(tx, workspace, found)?;
            for lead in found {
                let (_, created) = leads::merge(tx, workspace, lead, now)?;
                new += i64::from(created);
                known += i64::from(!created);
            }
            count(tx, workspace, job.id, "delivered", new)?;
            count(tx, workspace, job.id, "duplicates", known)?;
            tx.execute(
                "update job set cursor = ?3 where workspace = ?1 and id = ?2",
                values![workspace, job.id, next_cursor.as_ref()],
            )?;
            (job.delivered, job.duplicates) = (job.delivered + new, job.duplicates + known);
            Ok((new, new + known))
        }
        _ => Ok((0, hold.map_or(0, |hold| hold.price.quantity))),
    }
}

/// Writes the found address or field to the very lead that was looked up. `false` when the address is another lead's.
fn save_found(tx: &Tx<'_>, workspace: i64, found: &Lead) -> Result<bool, Error> {
    let Some(mut lead) = leads::find(tx, workspace, found.id)? else { return Ok(false) };
    if let Some(email) = &found.email
        && lead.improves(email, found.email_state)
    {
        let taken = "select 1 from lead where workspace = ?1 and email = ?2 and id <> ?3";
        if tx.one(taken, values![workspace, email, lead.id], |row| row.int(0))?.is_some() {
            return Ok(false);
        }
        (lead.email, lead.email_state) = (Some(email.clone()), found.email_state);
    }
    leads::learn_fields(tx, workspace, [found])?;
    lead.fields.extend(found.fields.clone());
    if !found.title.is_empty() {
        lead.title.clone_from(&found.title);
    }
    if !found.company.is_empty() {
        lead.company.clone_from(&found.company);
    }
    leads::save(tx, workspace, &lead)?;
    Ok(true)
}

fn count(tx: &Tx<'_>, workspace: i64, job: i64, column: &str, by: i64) -> Result<(), Error> {
    if by != 0 {
        let add = format!("update job set {column} = {column} + ?3 where workspace = ?1 and id = ?2");
        tx.execute(&add, values![workspace, job, by])?;
    }
    Ok(())
}

fn turn_page(batch: &mut Batch<'_>, claim: &Claim, job: &Job, more: bool) -> Result<(), Error> {
    give_back(&batch.tx, claim, None, batch.now)?;
    if more && job.delivered < job.requested && job.duplicates < MOST_KNOWN {
        batch.tx.execute(
            "update work set attempts = 0 where workspace = ?1 and job = ?2 and lead = 0",
            values![claim.workspace, job.id],
        )?;
        return Ok(());
    }
    end_search(&batch.tx, claim.workspace, job, Stage::Completed, batch.now)
}

/// Ends a search, unless it was canceled while its last page was fetched.
pub(super) fn end_search(
    tx: &Tx<'_>,
    workspace: i64,
    job: &Job,
    stage: Stage,
    now: Time,
) -> Result<(), Error> {
    if job.run.stage != Stage::Launched {
        return Ok(());
    }
    let mut run = job.run.clone();
    run.end(stage, now);
    jobs::save_run(tx, workspace, job.id, &run, now)
}

pub(super) fn detail(tx: &Tx<'_>, claim: &Claim, reason: &str) -> Result<(), Error> {
    tx.execute(
        "update work set detail = ?4 where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim), reason],
    )?;
    Ok(())
}
