//! Messages that are written for a step of a lead.
//!
//! Owns the writing on request: its checks, and the one commit in which a message is stored and paid. The runner's own
//! messages are stored by `work`, into the same table.
//!
//! Invariant: a message is stored and charged in one commit, and only while its step has not been sent.

use billing::campaign::{Position, Stage};
use billing::ledger::{Command, HoldTerms};
use billing::{Hold, Seq, Time};

use super::batch::Batch;
use super::committer::Post;
use super::db::{Row, Tx};
use super::jobs::{self, Job, JobKind};
use super::leads::{self, Lead};
use super::{Error, Store, ledger, work};
use crate::values;

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
}

/// The step of a lead in a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub job: i64,
    pub lead: i64,
    pub step: usize,
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
}

const MESSAGE: &str = "select m.id, m.job, m.lead, m.step, m.text, m.created_at, m.hold from message m";

/// A row of [`MESSAGE`], with the hold that paid for it.
fn read(row: &Row<'_>) -> Result<(Message, Option<Seq>), Error> {
    let message = Message {
        id: row.int(0)?,
        job: row.int(1)?,
        lead: row.int(2)?,
        step: row.int(3)?,
        text: row.text(4)?,
        created_at: row.time(5)?,
        credits: 0,
    };
    Ok((message, row.opt_int(6)?.map(Seq)))
}

/// A message with what it cost.
fn priced(tx: &Tx<'_>, workspace: i64, (message, hold): (Message, Option<Seq>)) -> Result<Message, Error> {
    let hold = hold.map_or(Ok(None), |id| ledger::load_hold(tx, workspace, id))?;
    let credits = hold.map_or(0, |hold| hold.settled * hold.price.unit_price);
    Ok(Message { credits, ..message })
}

fn find(tx: &Tx<'_>, workspace: i64, place: Place) -> Result<Option<Message>, Error> {
    let one = format!("{MESSAGE} where m.workspace = ?1 and m.job = ?2 and m.lead = ?3 and m.step = ?4");
    let row = tx.one(&one, values![workspace, place.job, place.lead, place.step], read)?;
    row.map(|row| priced(tx, workspace, row)).transpose()
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
            work::save_message(tx, workspace, job, lead, step as i64, &text, Some(hold), now)?;
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
        self.read_ledger(Some(workspace), move |tx| {
            let one = format!("{MESSAGE} where m.workspace = ?1 and m.id = ?2");
            let row = tx.one(&one, values![workspace, id], read)?.ok_or(Error::NotFound)?;
            priced(tx, workspace, row)
        })
        .await
    }

    /// Messages, newest first.
    pub async fn messages(
        &self,
        workspace: i64,
        filter: MessageFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Message>, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let page = format!(
                "{MESSAGE} where m.workspace = ?1 and m.id < ?2 and (m.job = ?3 or ?3 is null)
                   and (m.lead = ?4 or ?4 is null) order by m.id desc limit ?5"
            );
            let before = before.unwrap_or(i64::MAX);
            let rows = tx.query(&page, values![workspace, before, filter.job, filter.lead, limit], read)?;
            rows.into_iter().map(|row| priced(tx, workspace, row)).collect()
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
    let work = tx.one(
        "select position, lease_until from work where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, place.job, place.lead],
        |row| Ok((row.int(0)?, row.time(1)?)),
    )?;
    let (position, lease_until) =
        work.ok_or_else(|| Error::Invalid("lead", "this lead is not in the campaign".to_owned()))?;
    if writing == Writing::First && find(tx, workspace, place)?.is_some() {
        return Err(Error::Conflict("message_exists", "this step has a message; regenerate that one"));
    }
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
    if !matches!(job.run.stage, Stage::Draft | Stage::Launched) {
        return Err(Error::Conflict("campaign_completed", "the campaign has ended"));
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
    if position == here && !address {
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
