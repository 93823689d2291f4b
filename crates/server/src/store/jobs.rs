//! Campaigns, searches and enrichment jobs: one kind of thing with one life, one stack of pause reasons and one list of work.
//! An enrichment job is a campaign without steps; a search is a job with a single piece of work that repeats by pages.
//!
//! Owns their rows and the pause of one or all of them. It does *not* decide when something runs: `billing::campaign` does.

mod definition;
mod overdue;
mod pauses;
mod timeline;
pub use definition::{CampaignChange, Definition, StepText};
pub use overdue::overdue;
pub use pauses::{lift, lift_all, pause, pause_all, say_needed};
pub use timeline::PastPause;

use std::sync::Arc;

use billing::campaign::{self, Reason, Run, Stage};
use billing::{Labels, Time};

use super::db::{Row, Tx};
use super::{Error, Store};
use crate::{clock, id, values};

/// What a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum JobKind {
    Campaign = 0,
    Search = 1,
    Enrichment = 2,
}

/// A job as it is stored, with why it is paused.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: i64,
    pub kind: JobKind,
    pub name: String,
    pub definition: Definition,
    pub run: Run,
    pub credit_cap: Option<i64>,
    pub credits_used: i64,
    pub credits_held: i64,
    pub requested: i64,
    pub delivered: i64,
    pub duplicates: i64,
    pub cursor: Option<String>,
    pub detail: Option<String>,
    pub created_at: Time,
    pub launched_at: Option<Time>,
    pub pauses: Vec<Pause>,
}

impl Job {
    /// What all of its pieces are labelled with.
    pub fn labels(&self, workspace: i64) -> Labels {
        let name = |prefix| Some(Arc::from(id::inside(prefix, workspace, self.id)));
        let campaign = self.kind == JobKind::Campaign;
        Labels {
            campaign: if campaign { name("camp") } else { None },
            member: self.definition.by.as_deref().map(Arc::from),
            reference: if campaign { None } else { name("job") },
            ..Labels::default()
        }
    }
}

/// One reason why a job is paused.
#[derive(Clone, Debug)]
pub struct Pause {
    pub reason: Reason,
    pub since: Time,
    pub needed: Option<i64>,
    pub available: Option<i64>,
    pub by: Option<String>,
}

const JOB: &str = "select workspace, id, kind, name, definition, stage, ran, running_since, credit_cap, credits_used, credits_held,
    requested, delivered, duplicates, cursor, detail, created_at, launched_at from job";

fn read(row: &Row<'_>) -> Result<Job, Error> {
    let kind = [JobKind::Campaign, JobKind::Search, JobKind::Enrichment][row.int(2)?.clamp(0, 2) as usize];
    let (ran, running_since) = (row.int(6)?, row.opt_time(7)?);
    let run =
        Run { stage: stage(row.int(5)?), reasons: std::collections::BTreeMap::new(), ran, running_since };
    Ok(Job {
        id: row.int(1)?,
        kind,
        name: row.text(3)?,
        definition: serde_json::from_str(&row.text(4)?).unwrap_or_default(),
        run,
        credit_cap: row.opt_int(8)?,
        credits_used: row.int(9)?,
        credits_held: row.int(10)?,
        requested: row.int(11)?,
        delivered: row.int(12)?,
        duplicates: row.int(13)?,
        cursor: row.opt_text(14)?,
        detail: row.opt_text(15)?,
        created_at: row.time(16)?,
        launched_at: row.opt_time(17)?,
        pauses: Vec::new(),
    })
}

fn with_pauses(tx: &Tx<'_>, workspace: i64, mut job: Job) -> Result<Job, Error> {
    job.pauses = tx.query(
        "select reason, since, needed, available, by from pause where workspace = ?1 and job = ?2 order by reason",
        values![workspace, job.id],
        |row| {
            let reason = reason(row.int(0)?);
            Ok(Pause { reason, since: row.time(1)?, needed: row.opt_int(2)?, available: row.opt_int(3)?, by: row.opt_text(4)? })
        },
    )?;
    job.run.reasons = job.pauses.iter().map(|pause| (pause.reason, pause.since)).collect();
    Ok(job)
}

/// One job with its pauses.
pub fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Option<Job>, Error> {
    let job = tx.one(&format!("{JOB} where workspace = ?1 and id = ?2"), values![workspace, id], read)?;
    job.map(|job| with_pauses(tx, workspace, job)).transpose()
}

/// Writes what [`Run`] changed.
pub fn save_run(tx: &Tx<'_>, workspace: i64, id: i64, run: &Run, now: Time) -> Result<(), Error> {
    let ended = !matches!(run.stage, Stage::Draft | Stage::Launched);
    tx.execute(
        "update job set stage = ?3, ran = ?4, running_since = ?5, rests_until = ?6, launched_at = case when ?3 = 0 then null else
           coalesce(launched_at, ?6) end, ended_at = case when ?7 = 1 then ?6 else null end where workspace = ?1 and id = ?2",
        values![workspace, id, run.stage as i64, run.ran, run.running_since, now, ended],
    )?;
    if ended {
        timeline::over(tx, workspace, &timeline::Ending::Job(id), now)?;
        // A piece that is at work now ends under its claim: what its provider does is still paid and kept.
        tx.execute(
            "update work set due = null where workspace = ?1 and job = ?2 and lease_until = 0 and lead in
               (select w.lead from work w where w.workspace = ?1 and w.job = ?2 and w.due is not null)",
            values![workspace, id],
        )?;
    }
    Ok(())
}

fn stage(code: i64) -> Stage {
    [Stage::Draft, Stage::Launched, Stage::Completed, Stage::Canceled, Stage::Failed]
        [code.clamp(0, 4) as usize]
}

fn reason(code: i64) -> Reason {
    [Reason::OutOfCredits, Reason::Person, Reason::CreditCap, Reason::Provider][code.clamp(0, 3) as usize]
}

/// What a new job is made of.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub kind: JobKind,
    pub name: String,
    pub definition: Definition,
    pub credit_cap: Option<i64>,
    pub requested: i64,
    /// The leads of an enrichment job.
    pub leads: Vec<i64>,
}

/// What a person does to a job.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Act {
    Launch { by: Option<String> },
    Pause { by: String },
    Resume,
    Cancel,
}

impl Store {
    /// Makes a campaign as a draft; a search or an enrichment job starts at once.
    pub async fn create_job(&self, workspace: i64, new: NewJob) -> Result<Job, Error> {
        let id = clock::fresh_id();
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let (tx, now) = (&batch.tx, batch.now);
            for lead in &new.leads {
                super::leads::find(tx, workspace, *lead)?.ok_or_else(|| unknown_lead(workspace, *lead))?;
            }
            super::senders::check_all(tx, workspace, &new.definition.senders)?;
            let definition = serde_json::to_string(&new.definition).unwrap_or_default();
            tx.execute(
                "insert into job (workspace, id, kind, name, definition, stage, ran, served, rests_until, credit_cap,
                   credits_used, credits_held, requested, delivered, duplicates, created_at)
                 values (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, ?6, 0, 0, ?7, 0, 0, ?8)",
                values![workspace, id, new.kind as i64, &new.name, &definition, new.credit_cap, new.requested, now],
            )?;
            if new.kind == JobKind::Search {
                super::work::add(tx, workspace, id, 0, (0, Some(0)))?;
            }
            let begin = campaign::begin(&new.definition.plan(), 0);
            for lead in &new.leads {
                super::work::add(tx, workspace, id, *lead, (super::work::position_code(begin.0), begin.1))?;
            }
            if new.kind != JobKind::Campaign {
                act(batch, workspace, id, &Act::Launch { by: new.definition.by.clone() })?;
            }
            find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Changes a campaign that is still a draft.
    pub async fn update_campaign(
        &self,
        workspace: i64,
        id: i64,
        change: CampaignChange,
    ) -> Result<Job, Error> {
        self.write(workspace, move |batch| {
            let job = find(&batch.tx, workspace, id)?
                .filter(|job| job.kind == JobKind::Campaign)
                .ok_or(Error::NotFound)?;
            if job.run.stage != Stage::Draft {
                return Err(Error::Conflict("campaign_not_draft", "only a draft can be changed"));
            }
            let definition = job.definition.with(&change);
            super::senders::check_all(&batch.tx, workspace, &definition.senders)?;
            let text = serde_json::to_string(&definition).unwrap_or_default();
            let name = change.name.as_ref().unwrap_or(&job.name);
            batch.tx.execute(
                "update job set name = ?3, definition = ?4, credit_cap = ?5 where workspace = ?1 and id = ?2",
                values![workspace, id, name, &text, change.credit_cap.unwrap_or(job.credit_cap)],
            )?;
            // Nothing has begun in a draft, so its leads begin where the new plan begins.
            let begin = campaign::begin(&definition.plan(), 0);
            batch.tx.execute(
                "update work set position = ?3, due = ?4 where workspace = ?1 and job = ?2",
                values![workspace, id, super::work::position_code(begin.0), begin.1],
            )?;
            find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Adds leads to a campaign; those it already has are left as they are. Answers how many were added.
    pub async fn add_leads(&self, workspace: i64, id: i64, leads: Vec<i64>) -> Result<i64, Error> {
        self.write(workspace, move |batch| {
            let job = find(&batch.tx, workspace, id)?
                .filter(|job| job.kind == JobKind::Campaign)
                .ok_or(Error::NotFound)?;
            if !matches!(job.run.stage, Stage::Draft | Stage::Launched) {
                return Err(Error::Conflict("campaign_completed", "the campaign has ended"));
            }
            for lead in &leads {
                super::leads::find(&batch.tx, workspace, *lead)?
                    .ok_or_else(|| unknown_lead(workspace, *lead))?;
            }
            let begin = campaign::begin(&job.definition.plan(), job.run.running_time(batch.now));
            let begin = (super::work::position_code(begin.0), begin.1);
            let mut added = 0;
            for lead in &leads {
                added += super::work::add(&batch.tx, workspace, id, *lead, begin)?;
            }
            super::work::wake(&batch.tx, workspace, id, batch.now)?;
            Ok(added)
        })
        .await
    }

    /// One job of this kind.
    pub async fn job(&self, workspace: i64, id: i64, kind: JobKind) -> Result<Job, Error> {
        self.read(move |tx| find(tx, workspace, id)?.filter(|job| job.kind == kind).ok_or(Error::NotFound))
            .await
    }

    /// Jobs of a kind, newest first.
    pub async fn jobs(
        &self,
        workspace: i64,
        kind: JobKind,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Job>, Error> {
        self.read(move |tx| {
            let page =
                format!("{JOB} where workspace = ?1 and kind = ?2 and id < ?3 order by id desc limit ?4");
            let jobs =
                tx.query(&page, values![workspace, kind as i64, before.unwrap_or(i64::MAX), limit], read)?;
            jobs.into_iter().map(|job| with_pauses(tx, workspace, job)).collect()
        })
        .await
    }

    /// Launches, pauses, resumes or cancels a job.
    pub async fn act_on_job(&self, workspace: i64, id: i64, kind: JobKind, what: Act) -> Result<Job, Error> {
        self.write(workspace, move |batch| {
            find(&batch.tx, workspace, id)?.filter(|job| job.kind == kind).ok_or(Error::NotFound)?;
            act(batch, workspace, id, &what)?;
            find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)
        })
        .await
    }
}

/// Keeps whose the work of a job is from now on.
fn started(tx: &Tx<'_>, workspace: i64, job: &mut Job, by: &Option<String>) -> Result<(), Error> {
    if job.definition.by == *by {
        return Ok(());
    }
    job.definition.by.clone_from(by);
    let definition = serde_json::to_string(&job.definition).unwrap_or_default();
    tx.execute(
        "update job set definition = ?3 where workspace = ?1 and id = ?2",
        values![workspace, job.id, &definition],
    )?;
    Ok(())
}

fn unknown_lead(workspace: i64, lead: i64) -> Error {
    Error::Invalid("leads", format!("there is no lead {}", id::inside("lead", workspace, lead)))
}

fn act(batch: &mut super::batch::Batch<'_>, workspace: i64, id: i64, what: &Act) -> Result<(), Error> {
    let now = batch.now;
    batch.load(workspace)?;
    let mut job = find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)?;
    let stage = job.run.stage;
    match what {
        Act::Launch { by } if stage == Stage::Draft => {
            job.run.launch(now);
            save_run(&batch.tx, workspace, id, &job.run, now)?;
            started(&batch.tx, workspace, &mut job, by)?;
            let cached = batch.cached(workspace);
            let (out, needed, available) =
                (cached.watch.out_since, cached.watch.needed, cached.account.available);
            // Launching is free and never refused; what cannot be paid begins paused and says so.
            if out.is_some() || available == 0 {
                let why = Pause {
                    reason: Reason::OutOfCredits,
                    since: now,
                    needed,
                    available: Some(available),
                    by: None,
                };
                pause(&batch.tx, workspace, &mut job, &why, now)?;
                let cached = batch.cached(workspace);
                cached.watch.out_since.get_or_insert(now);
                batch.touch(workspace);
            }
            super::work::finish_if_done(&batch.tx, workspace, id, now)
        }
        Act::Launch { .. } if stage == Stage::Launched => Ok(()),
        Act::Launch { .. } => Err(Error::Conflict("campaign_completed", "it has ended")),
        Act::Pause { .. } | Act::Resume if stage != Stage::Launched => {
            Err(Error::Conflict("not_active", "only something that is active can be paused or resumed"))
        }
        Act::Pause { by } => {
            let why = Pause {
                reason: Reason::Person,
                since: now,
                needed: None,
                available: None,
                by: Some(by.clone()),
            };
            pause(&batch.tx, workspace, &mut job, &why, now)?;
            batch.look_again(workspace)
        }
        Act::Resume => {
            // A person lifts what a person, a cap or a provider caused; only credits lift a lack of credits.
            let mut lifted = false;
            for reason in [Reason::Person, Reason::CreditCap, Reason::Provider] {
                lifted |= lift(&batch.tx, workspace, &mut job, reason, now)?;
            }
            if lifted { super::messages::review_old(&batch.tx, workspace, &job, now) } else { Ok(()) }
        }
        Act::Cancel => {
            if matches!(stage, Stage::Draft | Stage::Launched) {
                job.run.end(Stage::Canceled, now);
                save_run(&batch.tx, workspace, id, &job.run, now)?;
            }
            batch.look_again(workspace)
        }
    }
}
