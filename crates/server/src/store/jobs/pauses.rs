//! Pauses, of one job or of all that are launched, and their end.
//!
//! Invariant: a job runs exactly while it is launched and has no reason to pause.

use billing::Time;
use billing::campaign::Reason;

use super::timeline::{Ending, over};
use super::{JOB, Job, Pause, read, save_run, with_pauses};
use crate::store::db::Tx;
use crate::store::{Error, webhooks};
use crate::values;

/// Pauses one job for a reason.
pub fn pause(tx: &Tx<'_>, workspace: i64, job: &mut Job, why: &Pause, now: Time) -> Result<bool, Error> {
    let (ran, new) = (job.run.running_since.is_some(), job.run.pause(why.reason, now));
    if new {
        tx.execute(
            "insert into pause (workspace, job, reason, since, needed, available, by) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            values![workspace, job.id, why.reason as i64, now, why.needed, why.available, why.by.as_ref()],
        )?;
        save_run(tx, workspace, job.id, &job.run, now)?;
    }
    if new && ran {
        webhooks::campaign(tx, workspace, job, webhooks::Kind::CampaignPaused, now)?;
    }
    Ok(new)
}

/// Takes one reason away from a job.
pub fn lift(tx: &Tx<'_>, workspace: i64, job: &mut Job, reason: Reason, now: Time) -> Result<bool, Error> {
    let there = job.run.lift(reason, now);
    if there {
        over(tx, workspace, &Ending::One(job.id, reason), now)?;
        save_run(tx, workspace, job.id, &job.run, now)?;
    }
    if there && job.run.running_since.is_some() {
        webhooks::campaign(tx, workspace, job, webhooks::Kind::CampaignResumed, now)?;
    }
    Ok(there)
}

/// Pauses everything that is launched. Answers how many campaigns are paused by it.
pub fn pause_all(
    tx: &Tx<'_>,
    workspace: i64,
    reason: Reason,
    now: Time,
    needed: Option<i64>,
    available: i64,
) -> Result<i64, Error> {
    // All at once: there may be thousands, and nobody else writes meanwhile.
    let stopped = if webhooks::is_wanted(tx, workspace, webhooks::Kind::CampaignPaused)? {
        launched(tx, workspace, |job| job.run.running_since.is_some())?
    } else {
        Vec::new()
    };
    let campaigns = tx.int(
        "select count(*) from job j where j.workspace = ?1 and j.stage = 1 and j.kind = 0 and not exists
           (select 1 from pause p where p.workspace = j.workspace and p.job = j.id and p.reason = ?2)",
        values![workspace, reason as i64],
    )?;
    tx.execute(
        "insert into pause (workspace, job, reason, since, needed, available)
         select ?1, id, ?2, ?3, ?4, ?5 from job where workspace = ?1 and stage = 1
         on conflict (workspace, job, reason) do nothing",
        values![workspace, reason as i64, now, needed, available],
    )?;
    tx.execute(
        "update job set ran = ran + ?2 - running_since, running_since = null
         where workspace = ?1 and running_since is not null",
        values![workspace, now],
    )?;
    for mut job in stopped {
        job.run.pause(reason, now);
        webhooks::campaign(tx, workspace, &job, webhooks::Kind::CampaignPaused, now)?;
    }
    Ok(campaigns)
}

/// Says what credits are missing for, where nobody knew when everything paused.
pub fn say_needed(tx: &Tx<'_>, workspace: i64, needed: i64) -> Result<(), Error> {
    tx.execute(
        "update pause set needed = ?2 where workspace = ?1 and reason = ?3 and needed is null",
        values![workspace, needed, Reason::OutOfCredits as i64],
    )?;
    Ok(())
}

/// Takes a reason away from everything. Answers how many campaigns run again.
pub fn lift_all(tx: &Tx<'_>, workspace: i64, reason: Reason, now: Time) -> Result<i64, Error> {
    const FREE: &str = "workspace = ?1 and stage = 1 and running_since is null
        and not exists (select 1 from pause where pause.workspace = job.workspace and pause.job = job.id)";
    over(tx, workspace, &Ending::Every(reason), now)?;
    let campaigns =
        tx.int(&format!("select count(*) from job where kind = 0 and {FREE}"), values![workspace])?;
    let resumed = if webhooks::is_wanted(tx, workspace, webhooks::Kind::CampaignResumed)? {
        launched(tx, workspace, |job| job.run.running_since.is_none() && job.pauses.is_empty())?
    } else {
        Vec::new()
    };
    tx.execute(
        &format!("update job set running_since = ?2, rests_until = ?2 where {FREE}"),
        values![workspace, now],
    )?;
    for job in resumed {
        webhooks::campaign(tx, workspace, &job, webhooks::Kind::CampaignResumed, now)?;
    }
    Ok(campaigns)
}

fn launched(tx: &Tx<'_>, workspace: i64, keep: impl Fn(&Job) -> bool) -> Result<Vec<Job>, Error> {
    let jobs = tx.query(&format!("{JOB} where workspace = ?1 and stage = 1"), values![workspace], read)?;
    let jobs = jobs.into_iter().map(|job| with_pauses(tx, workspace, job));
    jobs.filter(|job| job.as_ref().map_or(true, &keep)).collect()
}
