//! Messages that are written for a step of a lead.
//!
//! Owns the writing on request: its checks, and the one commit in which a message is stored and paid; and the row of every
//! message, also of those that the runner has written. What people do with one is in `review`.
//!
//! Invariant: a message is stored and charged in one commit, and only while its step has not been sent.

mod review;

use billing::campaign::{Position, Stage};
use billing::ledger::{Command, HoldTerms};
use billing::{Hold, Seq, Time};

use super::batch::Batch;
use super::committer::Post;
use super::db::{Row, Tx};
use super::jobs::{self, Job, JobKind};
use super::leads::{self, Lead};
use super::{Error, Store, work};
use crate::{clock, values};

pub use review::{REVIEW_AFTER_DAYS, review_old};

/// A stored message.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: i64,
    pub job: i64,
    pub lead: i64,
    pub step: i64,
    pub text: String,
    /// What its present text cost.
    pub credits: i64,
    pub created_at: Time,
    /// When its present text came to be.
    pub changed_at: Time,
    /// When a person last changed it, if its present text is a person's.
    pub edited_at: Option<Time>,
    pub approved_at: Option<Time>,
    pub approved_by: Option<String>,
    /// Whether its lead waits for a person to look at it.
    pub awaited: bool,
    /// How its step ended, as a stored number.
    pub outcome: Option<i64>,
}

/// The step of a lead in a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub job: i64,
    pub lead: i64,
    pub step: usize,
}

/// A text that becomes the message of a step.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub text: &'a str,
    /// What paid for it; `None`: a template that was filled in, for free.
    pub hold: Option<Seq>,
    pub credits: i64,
}

impl Text<'_> {
    /// Stores it, in place of an earlier one; whoever approved that one has not seen this one.
    pub fn save(self, tx: &Tx<'_>, workspace: i64, place: Place, now: Time) -> Result<(), Error> {
        let Place { job, lead, step } = place;
        tx.execute(
            "insert into message (workspace, id, job, lead, step, text, hold, credits, written, review, created_at, changed_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, ?9, ?9)
             on conflict (workspace, job, lead, step) do update set text = excluded.text, hold = excluded.hold,
               credits = excluded.credits, written = message.written + 1, review = 0, changed_at = excluded.changed_at,
               edited_at = null, approved_at = null, approved_by = null",
            values![workspace, clock::fresh_id(), job, lead, step, self.text, self.hold, self.credits, now],
        )?;
        Ok(())
    }
}

/// Whether a step's message is written for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Writing {
    First,
    Again,
}

/// What is needed to write a message whose credits are set aside.
#[derive(Clone, Debug)]
pub struct Begun {
    pub job: Job,
    pub lead: Lead,
    /// Dispatched: the call may be made.
    pub hold: Seq,
}

/// What became of a text that came back.
#[derive(Debug)]
pub enum Kept {
    /// It is stored and charged.
    Stored(Message),
    /// Something happened meanwhile: it is neither.
    TooLate(Error),
}

/// Which messages are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFilter {
    pub job: Option<i64>,
    pub lead: Option<i64>,
    /// Only those that wait for a person.
    pub awaited: bool,
}

const MESSAGE: &str = "select m.id, m.job, m.lead, m.step, m.text, m.created_at, m.credits, m.changed_at, m.edited_at,
      m.approved_at, m.approved_by, case when w.state = 6 and w.position = 1000 + m.step then 1 else 0 end, r.outcome
    from message m left join work w on w.workspace = m.workspace and w.job = m.job and w.lead = m.lead
    left join step_result r on r.workspace = m.workspace and r.job = m.job and r.step = m.step and r.lead = m.lead";

fn read(row: &Row<'_>) -> Result<Message, Error> {
    Ok(Message {
        id: row.int(0)?,
        job: row.int(1)?,
        lead: row.int(2)?,
        step: row.int(3)?,
        text: row.text(4)?,
        created_at: row.time(5)?,
        credits: row.int(6)?,
        changed_at: row.time(7)?,
        edited_at: row.opt_time(8)?,
        approved_at: row.opt_time(9)?,
        approved_by: row.opt_text(10)?,
        awaited: row.int(11)? != 0,
        outcome: row.opt_int(12)?,
    })
}

fn find(tx: &Tx<'_>, workspace: i64, place: Place) -> Result<Option<Message>, Error> {
    let one = format!("{MESSAGE} where m.workspace = ?1 and m.job = ?2 and m.lead = ?3 and m.step = ?4");
    tx.one(&one, values![workspace, place.job, place.lead, place.step], read)
}

fn one(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Message, Error> {
    let one = format!("{MESSAGE} where m.workspace = ?1 and m.id = ?2");
    tx.one(&one, values![workspace, id], read)?.ok_or(Error::NotFound)
}

impl Store {
    /// Checks that a message may be written, sets its credits aside and commits that the call is about to be made.
    pub async fn begin_message(
        &self,
        workspace: i64,
        place: Place,
        writing: Writing,
        terms: HoldTerms,
        actor: &str,
    ) -> Result<Begun, Error> {
        let actor = actor.to_owned();
        self.write(workspace, move |batch| {
            let (job, lead) = check(batch, workspace, place, writing, terms.price.amount())?;
            let held = batch.post(&Post::new(workspace, Command::Hold(terms.clone()), &actor))?;
            let hold = held.hold.ok_or(Error::NotFound)?.id;
            batch.post(&Post::new(workspace, Command::Dispatch { hold, epoch: 0 }, &actor))?;
            Ok(Begun { job, lead, hold })
        })
        .await
    }

    /// Stores a text and charges for it in one commit, or gives its credits back when it came too late.
    pub async fn keep_message(
        &self,
        workspace: i64,
        place: Place,
        writing: Writing,
        hold: Seq,
        text: String,
        actor: &str,
    ) -> Result<Kept, Error> {
        let actor = actor.to_owned();
        self.write(workspace, move |batch| {
            let Some(open) = batch.hold(workspace, hold)?.filter(Hold::is_open) else {
                return Ok(Kept::TooLate(Error::Conflict("hold_not_open", "its hold ended before it came")));
            };
            let amount = open.price.amount();
            let settle = |quantity| {
                Post::new(workspace, Command::Settle { hold, quantity, attempted: Some(1) }, &actor)
            };
            match check(batch, workspace, place, writing, amount) {
                Ok(_) => batch.post(&settle(1))?,
                Err(why) if why.is_answer() => {
                    batch.post(&settle(0))?;
                    return Ok(Kept::TooLate(why));
                }
                Err(error) => return Err(error),
            };
            let (tx, now) = (&batch.tx, batch.now);
            let Place { job, lead, step } = place;
            let text = Text { text: &text, hold: Some(hold), credits: amount };
            text.save(tx, workspace, Place { job, lead, step }, now)?;
            // The runner's pieces are counted by their holds; this one belongs to no piece.
            tx.execute(
                "update job set credits_used = credits_used + ?3 where workspace = ?1 and id = ?2",
                values![workspace, job, amount],
            )?;
            batch.write(workspace)?;
            find(&batch.tx, workspace, place)?.map(Kept::Stored).ok_or(Error::NotFound)
        })
        .await
    }

    /// One message.
    pub async fn message(&self, workspace: i64, id: i64) -> Result<Message, Error> {
        self.read(move |tx| one(tx, workspace, id)).await
    }

    /// Messages, newest first.
    pub async fn messages(
        &self,
        workspace: i64,
        filter: MessageFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Message>, Error> {
        self.read(move |tx| {
            let awaited = if filter.awaited { "and w.state = 6 and w.position = 1000 + m.step" } else { "" };
            let page = format!(
                "{MESSAGE} where m.workspace = ?1 and m.id < ?2 and (m.job = ?3 or ?3 is null)
                   and (m.lead = ?4 or ?4 is null) {awaited} order by m.id desc limit ?5"
            );
            let before = before.unwrap_or(i64::MAX);
            tx.query(&page, values![workspace, before, filter.job, filter.lead, limit], read)
        })
        .await
    }
}

/// Whether the message of a step may be written now. Asked before the call, and once more before its text is stored.
fn check(
    batch: &mut Batch<'_>,
    workspace: i64,
    place: Place,
    writing: Writing,
    needed: i64,
) -> Result<(Job, Lead), Error> {
    batch.load(workspace)?;
    let (tx, now) = (&batch.tx, batch.now);
    let job = jobs::find(tx, workspace, place.job)?
        .filter(|job| job.kind == JobKind::Campaign)
        .ok_or_else(|| Error::Invalid("campaign", "there is no such campaign here".to_owned()))?;
    let lead = leads::find(tx, workspace, place.lead)?
        .ok_or_else(|| Error::Invalid("lead", "there is no such lead here".to_owned()))?;
    let step = job.definition.steps.get(place.step);
    let step = step.ok_or_else(|| Error::Invalid("step", "the campaign has no such step".to_owned()))?;
    if !step.generate {
        return Err(Error::Invalid("step", "the text of this step is not generated".to_owned()));
    }
    if !matches!(job.run.stage, Stage::Draft | Stage::Launched) {
        return Err(Error::Conflict("campaign_completed", "the campaign has ended"));
    }
    let position = review::not_begun(tx, workspace, place, now)?;
    if writing == Writing::First && find(tx, workspace, place)?.is_some() {
        return Err(Error::Conflict("message_exists", "this step has a message; regenerate that one"));
    }
    if lead.replied_at.is_some() {
        return Err(Error::Conflict(
            "lead_replied",
            "the lead has replied: its remaining steps are not sent",
        ));
    }
    if leads::blocked(tx, workspace, &lead)? {
        return Err(Error::Conflict("lead_blocked", "the lead is on the blocklist"));
    }
    // Before its own turn an address may still be found.
    let address =
        if step.channel == "email" { lead.usable_email().is_some() } else { lead.linkedin_url.is_some() };
    if position == work::position_code(Position::Step(place.step)) && !address {
        return Err(Error::Conflict("no_address", "the lead has no address for this step's channel"));
    }
    within_cap(workspace, &job, needed)?;
    Ok((job, lead))
}

fn within_cap(workspace: i64, job: &Job, needed: i64) -> Result<(), Error> {
    let used = job.credits_used + job.credits_held;
    match job.credit_cap {
        Some(limit) if used + needed > limit => {
            Err(Error::OverCap { workspace, campaign: job.id, limit, used, needed })
        }
        _ => Ok(()),
    }
}
