//! The list of work: which lead of which job is due, who works on it, and how each piece ends.
//!
//! Owns claims (a lease and an epoch), and the one commit in which a piece is settled and its lead moves on. It does *not*
//! call anybody: the runner does, between these commits.
//!
//! Invariant: a piece ends only under the epoch that claimed it, and its charge and its lead's next position are one commit.

use billing::account::{Bucket, Hold, HoldStatus, ReleaseReason};
use billing::campaign::{self, Facts, Finish, Position, Reason, Stage};
use billing::ledger::{Command, HoldTerms};
use billing::{Entry, EntryKind, Refusal, Seq, Time};

use super::committer::{Batch, Post};
use super::db::Tx;
use super::jobs::{self, Job, JobKind, Pause};
use super::leads::{self, Lead};
use super::{Error, Store};
use crate::{clock, values};

/// How long a claim lasts, in seconds: longer than three attempts of the slowest provider.
const LEASE_SECONDS: i64 = 300;
/// How often one piece is tried again after a passing failure before its lead goes on without it.
const MAX_ATTEMPTS: i64 = 12;
/// How often a message that is empty, refused or cut off is written again, for free.
const MAX_WRITES: i64 = 3;
/// The operation that writes a message: it has no effect outside, so that in doubt it is simply done again.
const WRITING: &str = "message_generation";
/// Where the positions of steps begin in the stored number.
pub const STEPS: i64 = 1_000;

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
    /// A hold that an earlier claim left behind.
    pub hold: Option<Hold>,
    /// What can be spent now.
    pub available: i64,
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
    /// A passing failure: given back, tried again later.
    Later(String),
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
        "insert into work (workspace, job, lead, position, due, epoch, lease_until, state, attempts)
         values (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, 0) on conflict (workspace, job, lead) do nothing",
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

/// What the oldest due piece costs that waits only for credits, where that is known.
pub fn oldest_due_cost(tx: &Tx<'_>, workspace: i64) -> Result<Option<i64>, Error> {
    let oldest = tx.one(
        "select w.cost from job j join work w on w.workspace = j.workspace and w.job = j.id
         where j.workspace = ?1 and j.stage = 1 and w.due <= j.ran
           and not exists (select 1 from pause p where p.workspace = j.workspace and p.job = j.id and p.reason <> 0)
         order by j.ran - w.due desc, w.cost is null, w.job, w.lead limit 1",
        values![workspace],
        |row| row.opt_int(0),
    )?;
    Ok(oldest.flatten())
}

impl Store {
    /// Claims up to `limit` pieces that are due: jobs take turns, each gives its oldest.
    pub async fn claim(&self, limit: usize) -> Result<Vec<Claim>, Error> {
        self.write(move |batch| claim(batch, limit)).await
    }

    /// Sets the credits of a piece aside.
    pub async fn hold_piece(&self, claim: &Claim, terms: HoldTerms) -> Result<Held, Error> {
        let claim = claim.clone();
        self.write(move |batch| hold_piece(batch, &claim, &terms)).await
    }

    /// Commits that the call is about to be made, unless the lead, the job or the lease changed meanwhile.
    pub async fn dispatch_piece(&self, claim: &Claim, hold: Seq) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(move |batch| dispatch_piece(batch, &claim, hold)).await
    }

    /// Ends a piece: the hold, the result and the lead's next position in one commit. `false` when the piece was taken over.
    pub async fn finish_piece(
        &self,
        claim: &Claim,
        hold: Option<Seq>,
        ending: Ending,
    ) -> Result<bool, Error> {
        let claim = claim.clone();
        self.write(move |batch| finish_piece(batch, &claim, hold, &ending)).await
    }

    /// Moves a lead past a piece that needs no call: a field it has, a step it cannot get, the end.
    pub async fn pass_piece(&self, claim: &Claim, next: campaign::Next) -> Result<(), Error> {
        let claim = claim.clone();
        self.write(move |batch| pass_piece(batch, &claim, next)).await
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
            Ok(next.flatten())
        })
        .await
    }
}

fn claim(batch: &mut Batch<'_>, limit: usize) -> Result<Vec<Claim>, Error> {
    let now = batch.now;
    let jobs = batch.tx.query(
        "select j.workspace, j.id from job j join account a on a.workspace = j.workspace
         where j.running_since is not null and a.out_since is null and (a.needed is null or a.needed <= a.available)
           and exists (select 1 from work w where w.workspace = j.workspace and w.job = j.id
             and w.due <= j.ran + ?1 - j.running_since and w.lease_until <= ?1)
         order by j.served limit ?2",
        values![now, limit],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    let mut claims = Vec::new();
    let share = limit.div_ceil(jobs.len().max(1));
    for (workspace, id) in jobs {
        let Some(job) = jobs::find(&batch.tx, workspace, id)? else { continue };
        let due = batch.tx.query(
            "select lead, position, epoch, hold, attempts from work
             where workspace = ?1 and job = ?2 and due <= ?3 and lease_until <= ?4 order by due limit ?5",
            values![workspace, id, job.run.running_time(now), now, share.min(limit - claims.len())],
            |row| Ok((row.int(0)?, position(row.int(1)?), row.int(2)? + 1, row.opt_int(3)?, row.int(4)?)),
        )?;
        for (lead, position, epoch, hold, attempts) in due {
            batch.tx.execute(
                "update work set epoch = ?4, lease_until = ?5 where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, id, lead, epoch, now.plus_seconds(LEASE_SECONDS)],
            )?;
            let hold = hold.map(|hold| batch.hold(workspace, Seq(hold))).transpose()?.flatten();
            let lead = leads::find(&batch.tx, workspace, lead)?;
            let (facts, message) = facts(&batch.tx, workspace, &job, lead.as_ref(), position)?;
            let available = batch.account(workspace)?.available;
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
                hold,
                available,
            });
        }
        let served = clock::fresh_id();
        batch.tx.execute(
            "update job set served = ?3 where workspace = ?1 and id = ?2",
            values![workspace, id, served],
        )?;
    }
    Ok(claims)
}

fn facts(
    tx: &Tx<'_>,
    workspace: i64,
    job: &Job,
    lead: Option<&Lead>,
    position: Position,
) -> Result<(Facts, Option<String>), Error> {
    let Some(lead) = lead else { return Ok((Facts::default(), None)) };
    let (filled, message) = match position {
        Position::Enrich(index) => {
            (job.definition.enrich.get(index).is_some_and(|field| lead.has(field)), None)
        }
        Position::Step(index) => (false, message_text(tx, workspace, job.id, lead.id, index)?),
    };
    let facts = Facts {
        replied: lead.replied_at.is_some() && job.kind == JobKind::Campaign,
        blocked: leads::blocked(tx, workspace, lead)?,
        filled,
        email: lead.usable_email().is_some(),
        linkedin: lead.linkedin_url.is_some(),
        written: message.is_some(),
    };
    Ok((facts, message))
}

fn message_text(
    tx: &Tx<'_>,
    workspace: i64,
    job: i64,
    lead: i64,
    step: usize,
) -> Result<Option<String>, Error> {
    tx.one(
        "select text from message where workspace = ?1 and job = ?2 and lead = ?3 and step = ?4",
        values![workspace, job, lead, step],
        |row| row.text(0),
    )
}

fn lead_id(claim: &Claim) -> i64 {
    claim.lead.as_ref().map_or(0, |lead| lead.id)
}

/// Whether the piece still belongs to this claim.
fn owns(tx: &Tx<'_>, claim: &Claim) -> Result<bool, Error> {
    let epoch = tx.one(
        "select epoch from work where workspace = ?1 and job = ?2 and lead = ?3 and due is not null",
        values![claim.workspace, claim.job.id, lead_id(claim)],
        |row| row.int(0),
    )?;
    Ok(epoch == Some(claim.epoch))
}

fn hold_piece(batch: &mut Batch<'_>, claim: &Claim, terms: &HoldTerms) -> Result<Held, Error> {
    let (workspace, now) = (claim.workspace, batch.now);
    if !owns(&batch.tx, claim)? {
        return Ok(Held::No);
    }
    let Some(mut job) = jobs::find(&batch.tx, workspace, claim.job.id)? else { return Ok(Held::No) };
    let needed = terms.price.amount();
    return_left(batch, claim)?;
    if job.run.running_since.is_none() {
        give_back(&batch.tx, claim, None)?;
        return Ok(Held::No);
    }
    if let Some(cap) = job.credit_cap
        && job.credits_used + job.credits_held + needed > cap
    {
        // Credits held by its other leads may come back: the cap is reached only when they cannot help.
        if job.credits_used + needed > cap {
            let why = Pause {
                reason: Reason::CreditCap,
                since: now,
                needed: Some(needed),
                available: None,
                by: None,
            };
            jobs::pause(&batch.tx, workspace, &mut job, &why, now)?;
        }
        give_back(&batch.tx, claim, None)?;
        return Ok(Held::No);
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
        Err(Error::Refused(refusal)) => {
            let cost =
                if let Refusal::InsufficientCredits { needed, .. } = refusal { Some(needed) } else { None };
            give_back(&batch.tx, claim, cost)?;
            Ok(Held::No)
        }
        Err(error) => Err(error),
    }
}

/// Ends a claim without moving the lead. A job that ended meanwhile has nothing due any more.
fn give_back(tx: &Tx<'_>, claim: &Claim, cost: Option<i64>) -> Result<(), Error> {
    tx.execute(
        "update work set lease_until = 0, cost = ?4, due = case when (select stage from job where workspace = ?1 and id = ?2) = 1
           then due end where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim), cost],
    )?;
    Ok(())
}

fn dispatch_piece(batch: &mut Batch<'_>, claim: &Claim, hold: Seq) -> Result<bool, Error> {
    let workspace = claim.workspace;
    if !owns(&batch.tx, claim)? {
        return Ok(false);
    }
    // A hold that took the last credits has paused everything, its own job included. It is paid for, so its call goes out.
    let running = jobs::find(&batch.tx, workspace, claim.job.id)?.is_some_and(|job| {
        let reasons = &job.run.reasons;
        job.run.stage == Stage::Launched && reasons.keys().all(|reason| *reason == Reason::OutOfCredits)
    });
    let stopped = match &claim.lead {
        Some(lead) => match leads::find(&batch.tx, workspace, lead.id)? {
            // Reply and blocklist are looked at once more in the commit that lets the call go out.
            Some(lead) => {
                let replied = lead.replied_at.is_some() && claim.job.kind == JobKind::Campaign;
                replied || leads::blocked(&batch.tx, workspace, &lead)?
            }
            None => true,
        },
        None => false,
    };
    let dispatched = if running && !stopped {
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
            give_back(&batch.tx, claim, None)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// An earlier claim ended between its hold and its dispatch: nothing went out, so its credits come back before anything else.
fn return_left(batch: &mut Batch<'_>, claim: &Claim) -> Result<(), Error> {
    let Some(left) = claim.hold.as_ref().filter(|hold| hold.status == HoldStatus::Open) else {
        return Ok(());
    };
    match batch.post(&Post::new(claim.workspace, Command::Release(left.id), "campaign")) {
        Err(error) if !error.is_answer() => Err(error),
        // It may have ended otherwise since it was claimed; then there is nothing to return.
        _ => forget_hold(&batch.tx, claim),
    }
}

fn forget_hold(tx: &Tx<'_>, claim: &Claim) -> Result<(), Error> {
    tx.execute(
        "update work set hold = null where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim)],
    )?;
    Ok(())
}

fn finish_piece(
    batch: &mut Batch<'_>,
    claim: &Claim,
    hold: Option<Seq>,
    ending: &Ending,
) -> Result<bool, Error> {
    let (workspace, now) = (claim.workspace, batch.now);
    let open = match hold {
        Some(id) => batch.hold(workspace, id)?.filter(Hold::is_open),
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
    let Some(mut job) = jobs::find(&batch.tx, workspace, claim.job.id)? else { return Ok(false) };
    let (settled, attempted) = store_result(batch, claim, &mut job, open.as_ref(), ending)?;
    if let Some(open) = &open {
        let command = match ending {
            Ending::Doubt(_) => Command::Doubt(open.id),
            Ending::Later(_) | Ending::Unavailable(_) => Command::Release(open.id),
            _ => Command::Settle {
                hold: open.id,
                quantity: settled,
                attempted: Some(attempted.min(open.price.quantity)),
            },
        };
        batch.post(&Post::new(workspace, command, "campaign"))?;
    }
    let tx = &batch.tx;
    match ending {
        Ending::Doubt(reason) => {
            // The post above has marked the work as in doubt; what remains is why.
            detail(tx, claim, reason)?;
            return Ok(true);
        }
        Ending::Later(reason) if claim.attempts + 1 < MAX_ATTEMPTS => {
            let pause = 60_000_000_i64 << claim.attempts.min(8);
            forget_hold(tx, claim)?;
            tx.execute(
                "update work set lease_until = 0, attempts = attempts + 1, detail = ?5,
                   due = case when (select stage from job where workspace = ?1 and id = ?2) = 1 then ?4 end
                 where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, job.id, lead_id(claim), job.run.running_time(now) + pause, reason],
            )?;
            return Ok(true);
        }
        Ending::Unavailable(reason) => {
            forget_hold(tx, claim)?;
            give_back(tx, claim, None)?;
            detail(tx, claim, reason)?;
            let why = Pause {
                reason: Reason::Provider,
                since: now,
                needed: None,
                available: None,
                by: Some(reason.clone()),
            };
            jobs::pause(tx, workspace, &mut job, &why, now)?;
            return Ok(true);
        }
        Ending::Failed(reason) if rewrites(claim) => {
            forget_hold(tx, claim)?;
            give_back(tx, claim, None)?;
            tx.execute(
                "update work set attempts = attempts + 1, detail = ?4 where workspace = ?1 and job = ?2 and lead = ?3",
                values![workspace, job.id, lead_id(claim), reason],
            )?;
            return Ok(true);
        }
        Ending::Wrote(_) => {
            // The message is there; the same step is still to be sent, at once.
            forget_hold(tx, claim)?;
            give_back(tx, claim, None)?;
            return Ok(true);
        }
        _ => {}
    }
    let outcome = match ending {
        Ending::Sent => Some((StepOutcome::Sent, "")),
        Ending::NotSent(outcome, reason) => Some((*outcome, reason.as_str())),
        Ending::Failed(reason) | Ending::Later(reason) => Some((StepOutcome::Failed, reason.as_str())),
        _ => None,
    };
    forget_hold(tx, claim)?;
    if let Ending::Page { next_cursor, .. } = ending {
        return turn_page(batch, claim, &job, next_cursor.is_some()).map(|()| true);
    }
    if claim.lead.is_none() {
        give_back(tx, claim, None)?;
        end_search(tx, workspace, &job, Stage::Failed, now)?;
        return Ok(true);
    }
    advance(tx, workspace, &job, lead_id(claim), claim.position, outcome, hold, now)?;
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
            if message_text(tx, workspace, job.id, lead_id(claim), step)?.is_some() {
                return Ok((0, 1));
            }
            save_message(
                tx,
                workspace,
                job.id,
                lead_id(claim),
                step as i64,
                text,
                hold.map(|hold| hold.id),
                now,
            )?;
            Ok((1, 1))
        }
        Ending::Sent => Ok((1, 1)),
        Ending::Page { leads: found, next_cursor } => {
            let room = hold.map_or(0, |hold| hold.price.quantity);
            let (mut new, mut known) = (0, 0);
            for lead in found.iter().take(usize::try_from(room).unwrap_or(0)) {
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
        && found.email_state > lead.email_state
    {
        let taken = "select 1 from lead where workspace = ?1 and email = ?2 and id <> ?3";
        if tx.one(taken, values![workspace, email, lead.id], |row| row.int(0))?.is_some() {
            return Ok(false);
        }
        (lead.email, lead.email_state) = (Some(email.clone()), found.email_state);
    }
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

#[allow(clippy::too_many_arguments, reason = "one row")]
/// Stores the message of a lead's step, replacing an earlier one.
pub fn save_message(
    tx: &Tx<'_>,
    workspace: i64,
    job: i64,
    lead: i64,
    step: i64,
    text: &str,
    hold: Option<Seq>,
    now: Time,
) -> Result<(), Error> {
    tx.execute(
        "insert into message (workspace, id, job, lead, step, text, hold, written, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)
         on conflict (workspace, job, lead, step) do update set text = excluded.text, hold = excluded.hold,
           written = message.written + 1",
        values![workspace, clock::fresh_id(), job, lead, step, text, hold, now],
    )?;
    Ok(())
}

fn count(tx: &Tx<'_>, workspace: i64, job: i64, column: &str, by: i64) -> Result<(), Error> {
    if by != 0 {
        let add = format!("update job set {column} = {column} + ?3 where workspace = ?1 and id = ?2");
        tx.execute(&add, values![workspace, job, by])?;
    }
    Ok(())
}

fn turn_page(batch: &mut Batch<'_>, claim: &Claim, job: &Job, more: bool) -> Result<(), Error> {
    give_back(&batch.tx, claim, None)?;
    if more && job.delivered < job.requested {
        batch.tx.execute(
            "update work set attempts = 0 where workspace = ?1 and job = ?2 and lead = 0",
            values![claim.workspace, job.id],
        )?;
        return Ok(());
    }
    end_search(&batch.tx, claim.workspace, job, Stage::Completed, batch.now)
}

/// Ends a search, unless it was canceled while its last page was fetched.
fn end_search(tx: &Tx<'_>, workspace: i64, job: &Job, stage: Stage, now: Time) -> Result<(), Error> {
    if job.run.stage != Stage::Launched {
        return Ok(());
    }
    let mut run = job.run.clone();
    run.end(stage, now);
    jobs::save_run(tx, workspace, job.id, &run, now)
}

fn detail(tx: &Tx<'_>, claim: &Claim, reason: &str) -> Result<(), Error> {
    tx.execute(
        "update work set detail = ?4 where workspace = ?1 and job = ?2 and lead = ?3",
        values![claim.workspace, claim.job.id, lead_id(claim), reason],
    )?;
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "one row")]
/// Moves a lead past a position, and the job to its end when that was the last one.
fn advance(
    tx: &Tx<'_>,
    workspace: i64,
    job: &Job,
    lead: i64,
    from: Position,
    outcome: Option<(StepOutcome, &str)>,
    hold: Option<Seq>,
    now: Time,
) -> Result<(), Error> {
    if let (Position::Step(step), Some((outcome, reason))) = (from, outcome) {
        tx.execute(
            "insert into step_result (workspace, job, step, lead, outcome, hold, at, detail) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             on conflict (workspace, job, step, lead) do update set outcome = excluded.outcome, at = excluded.at,
               detail = excluded.detail",
            values![workspace, job.id, step, lead, outcome as i64, hold, now, reason],
        )?;
    }
    let (to, due) = campaign::advance(&job.definition.plan(), from, job.run.running_time(now));
    let state = if due.is_some() { WorkState::Waiting } else { WorkState::Completed };
    let due = due.filter(|_| job.run.stage == Stage::Launched);
    tx.execute(
        "update work set position = ?4, due = ?5, state = ?6, lease_until = 0, attempts = 0, cost = null, hold = null
         where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, job.id, lead, position_code(to), due, state as i64],
    )?;
    finish_if_done(tx, workspace, job.id, now)
}

fn pass_piece(batch: &mut Batch<'_>, claim: &Claim, next: campaign::Next) -> Result<(), Error> {
    let (workspace, now) = (claim.workspace, batch.now);
    if !owns(&batch.tx, claim)? {
        return Ok(());
    }
    return_left(batch, claim)?;
    let Some(job) = jobs::find(&batch.tx, workspace, claim.job.id)? else { return Ok(()) };
    let tx = &batch.tx;
    match next {
        campaign::Next::Have(_) => {
            advance(tx, workspace, &job, lead_id(claim), claim.position, None, None, now)
        }
        campaign::Next::Skip(_) => {
            let skipped = Some((StepOutcome::Skipped, "no address for this channel"));
            advance(tx, workspace, &job, lead_id(claim), claim.position, skipped, None, now)
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
        _ => give_back(tx, claim, None),
    }
}

fn end_lead(tx: &Tx<'_>, workspace: i64, job: i64, lead: i64, state: WorkState) -> Result<(), Error> {
    tx.execute(
        "update work set due = null, state = ?4, lease_until = 0 where workspace = ?1 and job = ?2 and lead = ?3",
        values![workspace, job, lead, state as i64],
    )?;
    Ok(())
}

/// Ends a launched job when nothing of it is due, at work or in doubt.
pub fn finish_if_done(tx: &Tx<'_>, workspace: i64, id: i64, now: Time) -> Result<(), Error> {
    let left = tx.one(
        "select 1 from work where workspace = ?1 and job = ?2 and due is not null
         union all select 1 from work where workspace = ?1 and job = ?2 and hold is not null limit 1",
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
        tx.execute(
            "update work set state = 1, due = null, lease_until = 0 where workspace = ?1 and hold = ?2",
            values![workspace, hold],
        )?;
        if let Position::Step(step) = from {
            tx.execute(
                "insert into step_result (workspace, job, step, lead, outcome, hold, at) values (?1, ?2, ?3, ?4, 3, ?5, ?6)
                 on conflict (workspace, job, step, lead) do nothing",
                values![workspace, id, step, lead, hold, now],
            )?;
        }
        return Ok(());
    }
    if !matches!(entry.kind, EntryKind::Charge | EntryKind::Release) {
        return Ok(());
    }
    // What an entry takes out of held. A late charge takes nothing: the release before it already did.
    let held: i64 = entry
        .postings
        .iter()
        .filter(|posting| posting.from == Bucket::Held)
        .map(|posting| posting.credits)
        .sum();
    let used = if entry.kind == EntryKind::Charge { price.amount() } else { 0 };
    tx.execute(
        "update job set credits_held = credits_held - ?3, credits_used = credits_used + ?4 where workspace = ?1 and id = ?2",
        values![workspace, id, held, used],
    )?;
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
    advance(tx, workspace, &job, lead, from, Some(outcome), Some(hold), now)
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
        "update work set hold = null, lease_until = 0 where workspace = ?1 and hold = ?2",
        values![workspace, hold],
    )?;
    Ok(())
}

impl Claim {
    /// The hold of an earlier claim whose call went out, without anybody knowing how it ended.
    pub fn left_dispatched(&self) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.status == HoldStatus::Dispatched)
    }
}
