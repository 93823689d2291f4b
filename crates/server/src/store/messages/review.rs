//! What people do with messages: approve them, change them, and look at old ones once more. All of it is free.
//!
//! Invariant: what a person approved is what goes out; any other text of that message takes the approval away.

use billing::Time;
use billing::campaign::Position;
use billing::units::DAY;

use super::super::alerts;
use super::super::db::Tx;
use super::super::jobs::{self, Job, JobKind};
use super::super::work::{self, Claim, WorkState};
use super::super::{Error, Store};
use super::{Message, Place, Text, one};
use crate::values;

/// Messages older than this are looked at once more when a person lets their campaign go on.
pub const REVIEW_AFTER_DAYS: i64 = 14;

impl Store {
    /// Approves a message: it goes out when its step is due. Approving it again changes nothing.
    pub async fn approve_message(&self, workspace: i64, id: i64, actor: &str) -> Result<Message, Error> {
        let actor = actor.to_owned();
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let (tx, now) = (&batch.tx, batch.now);
            let message = one(tx, workspace, id)?;
            if message.approved_at.is_none() {
                open(tx, workspace, &message, now)?;
                tx.execute(
                    "update message set approved_at = ?3, approved_by = ?4, review = 0 where workspace = ?1 and id = ?2",
                    values![workspace, id, now, &actor],
                )?;
            }
            go_on(tx, workspace, &message, now)?;
            one(tx, workspace, id)
        })
        .await
    }

    /// Approves every message of a campaign that waits for it, the oldest first. Answers how many.
    pub async fn approve_all(&self, workspace: i64, job: i64, actor: &str) -> Result<i64, Error> {
        let actor = actor.to_owned();
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let (tx, now) = (&batch.tx, batch.now);
            jobs::find(tx, workspace, job)?.filter(|job| job.kind == JobKind::Campaign).ok_or(Error::NotFound)?;
            let waiting = tx.query(
                "select m.id from work w join message m on m.workspace = w.workspace and m.job = w.job and m.lead = w.lead
                   and m.step = w.position - 1000
                 where w.workspace = ?1 and w.job = ?2 and w.state = 6 order by m.id limit ?3",
                values![workspace, job, MOST_AT_ONCE],
                |row| row.int(0),
            )?;
            for id in &waiting {
                tx.execute(
                    "update message set approved_at = ?3, approved_by = ?4, review = 0 where workspace = ?1 and id = ?2",
                    values![workspace, *id, now, &actor],
                )?;
                go_on(tx, workspace, &one(tx, workspace, *id)?, now)?;
            }
            Ok(waiting.len() as i64)
        })
        .await
    }

    /// Puts a person's own text in place of a message's, before it is sent. Where messages are approved, this one is anew.
    pub async fn edit_message(&self, workspace: i64, id: i64, text: String) -> Result<Message, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let (tx, now) = (&batch.tx, batch.now);
            let message = one(tx, workspace, id)?;
            open(tx, workspace, &message, now)?;
            if message.text != text {
                tx.execute(
                    "update message set text = ?3, changed_at = ?4, edited_at = ?4, approved_at = null, approved_by = null
                     where workspace = ?1 and id = ?2",
                    values![workspace, id, &text, now],
                )?;
            }
            one(tx, workspace, id)
        })
        .await
    }

    /// Lets a lead wait for a person to approve the message of its step; `text` is what goes out where none was written.
    pub async fn review_piece(&self, claim: &Claim, text: Option<String>) -> Result<(), Error> {
        let claim = claim.clone();
        self.write(claim.workspace, move |batch| {
            let (tx, workspace, now) = (&batch.tx, claim.workspace, batch.now);
            let (Position::Step(step), Some(lead)) = (claim.position, &claim.lead) else { return Ok(()) };
            if !work::owns(tx, &claim)? {
                return Ok(());
            }
            let place = Place { job: claim.job.id, lead: lead.id, step };
            let known = super::find(tx, workspace, place)?;
            // Approved between the claim and this: nothing to wait for.
            if known.as_ref().is_some_and(|message| message.approved_at.is_some()) {
                return work::put_back(batch, &claim);
            }
            if let (None, Some(text)) = (&known, &text) {
                Text { text, hold: None, credits: 0 }.save(tx, workspace, place, now)?;
            }
            work::return_left(batch, &claim)?;
            batch.tx.execute(
                "update work set state = ?4, due = ?5, lease_until = 0, attempts = 0, cost = null, hold = null, slot_day = null,
                   detail = null where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, place.job, place.lead, WorkState::Review as i64, work::ON_APPROVAL],
            )?;
            Ok(())
        })
        .await
    }
}

/// How many messages are approved by one request.
const MOST_AT_ONCE: i64 = 1_000;

/// A lead that waited for this message is due again.
fn go_on(tx: &Tx<'_>, workspace: i64, message: &Message, now: Time) -> Result<(), Error> {
    let Some(job) = jobs::find(tx, workspace, message.job)? else { return Ok(()) };
    let position = work::STEPS + message.step;
    tx.execute(
        "update work set state = 0, due = ?5 where workspace = ?1 and job = ?2 and lead = ?3 and position = ?4 and state = 6",
        values![workspace, message.job, message.lead, position, job.run.running_time(now)],
    )?;
    work::wake(tx, workspace, message.job, now)
}

/// Whether a message can still be changed.
fn open(tx: &Tx<'_>, workspace: i64, message: &Message, now: Time) -> Result<(), Error> {
    let step = usize::try_from(message.step).unwrap_or_default();
    not_begun(tx, workspace, Place { job: message.job, lead: message.lead, step }, now).map(drop)
}

/// Refuses when a step was sent, left out, or is being sent. Answers where its lead stands.
pub(super) fn not_begun(tx: &Tx<'_>, workspace: i64, place: Place, now: Time) -> Result<i64, Error> {
    let work = tx.one(
        "select position, lease_until from work where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, place.job, place.lead],
        |row| Ok((row.int(0)?, row.time(1)?)),
    )?;
    let missing = || Error::Invalid("lead", "this lead is not in the campaign".to_owned());
    let (position, lease_until) = work.ok_or_else(missing)?;
    let here = work::position_code(Position::Step(place.step));
    let ended = tx.one(
        "select 1 from step_result where workspace = ?1 and job = ?2 and step = ?3 and lead = ?4",
        values![workspace, place.job, place.step, place.lead],
        |row| row.int(0),
    )?;
    if ended.is_some() || position > here {
        return Err(Error::Conflict("step_done", "this step was already sent or left out for this lead"));
    }
    if position == here && lease_until > now {
        return Err(Error::Conflict("step_in_progress", "this step is being worked on; try again later"));
    }
    Ok(position)
}

/// A person lets a campaign go on: messages that are waiting to be sent and that nobody looked at for long are looked at once
/// more. Nothing is written again by itself.
pub fn review_old(tx: &Tx<'_>, workspace: i64, job: &Job, now: Time) -> Result<(), Error> {
    if job.kind != JobKind::Campaign {
        return Ok(());
    }
    let old = tx.execute(
        "update message set review = 1, approved_at = null, approved_by = null where workspace = ?1 and job = ?2
           and coalesce(approved_at, changed_at) < ?3
           and not exists (select 1 from step_result r where r.workspace = ?1 and r.job = message.job and r.step = message.step
             and r.lead = message.lead)
           and exists (select 1 from work w where w.workspace = ?1 and w.job = message.job and w.lead = message.lead
             and w.due is not null)",
        values![workspace, job.id, now.0 - REVIEW_AFTER_DAYS * DAY],
    )?;
    if old == 0 {
        return Ok(());
    }
    let messages = if old == 1 {
        "1 message is".to_owned()
    } else {
        format!("{} messages are", alerts::thousands(old as i64))
    };
    let title = format!("{messages} older than {REVIEW_AFTER_DAYS} days.");
    let body = format!("\u{201c}{}\u{201d} goes on. These wait until somebody has looked at them.", job.name);
    alerts::add(tx, workspace, "review", now, &title, &body)
}
