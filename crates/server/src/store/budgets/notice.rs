//! What people are told when a limit stops work in the background: one notice and one mail for each limit, in its time.
//!
//! Owns the words. A limit that stops one campaign after another, or the same one again after somebody resumed it, is told once;
//! it is told anew when it begins anew, or is another number. One that is less than a single step never begins anew.

use billing::Time;
use billing::budget::{Over, Per, Scope};

use super::span;
use crate::store::alerts::{self, count, thousands};
use crate::store::batch::Batch;
use crate::store::jobs::{self, Job, JobKind};
use crate::store::{Error, outbox, workspaces};
use crate::{calendar, id, values};

const KIND: &str = "credit_cap";

/// A budget stopped a job, or keeps it paused.
pub(in crate::store) fn budget(
    batch: &Batch<'_>,
    workspace: i64,
    job: &Job,
    over: &Over,
) -> Result<(), Error> {
    let label = over.label.as_deref().unwrap_or("");
    let whose = match over.scope {
        Scope::Workspace => "the workspace".to_owned(),
        Scope::Member => label.to_owned(),
        Scope::Campaign => name(batch, workspace, label)?,
    };
    let per = match over.per {
        Per::Day => "a day",
        Per::Period => "a period",
        Per::Total => "in total",
    };
    let begins = if over.needed > over.limit { Per::Total } else { over.per };
    let (from, until) = span(&batch.tx, workspace, begins, batch.now)?;
    let title = format!("Limit reached: {} {per} for {whose}.", count(over.limit, "credit", "credits"));
    let goes_on = if begins == Per::Total {
        "when the limit is raised".to_owned()
    } else {
        let zone = workspaces::find(&batch.tx, workspace)?.time_zone;
        format!("on {} or when the limit is raised", calendar::minute(until, &zone))
    };
    tell(batch, workspace, from, &title, &body(job, (over.limit, over.used, over.needed), &goes_on))
}

/// A campaign's own cap stopped it.
pub(in crate::store) fn cap(batch: &Batch<'_>, workspace: i64, job: &Job, needed: i64) -> Result<(), Error> {
    let Some(limit) = job.credit_cap else { return Ok(()) };
    let title = format!("Limit reached: {} for {}.", count(limit, "credit", "credits"), job.name);
    let body = body(job, (limit, job.credits_used, needed), "when the limit is raised");
    tell(batch, workspace, Time(0), &title, &body)
}

/// A campaign's label is its id where it is one of ours, and whatever the caller calls it elsewhere.
fn name(batch: &Batch<'_>, workspace: i64, label: &str) -> Result<String, Error> {
    let own = id::parse_inside("camp", label).filter(|(owner, _)| *owner == workspace);
    let job = own.map(|(_, job)| jobs::find(&batch.tx, workspace, job)).transpose()?.flatten();
    Ok(job.map_or_else(|| label.to_owned(), |job| job.name))
}

fn body(job: &Job, (limit, used, needed): (i64, i64, i64), goes_on: &str) -> String {
    let what = match job.kind {
        JobKind::Campaign => "Campaign",
        JobKind::Search => "Search",
        JobKind::Enrichment => "Enrichment",
    };
    let (limit, used, needed) = (thousands(limit), thousands(used), thousands(needed));
    format!(
        "{used} of {limit} are used or reserved, and the next step needs {needed}. {what} {} is paused at its current step; \
         nothing is lost. It continues {goes_on}.",
        job.name
    )
}

fn tell(batch: &Batch<'_>, workspace: i64, from: Time, title: &str, body: &str) -> Result<(), Error> {
    // Labels and names may have several lines; a subject has one.
    let title = &*title.replace(['\n', '\t'], " ");
    let told = "select 1 from notice where workspace = ?1 and kind = ?2 and title = ?3 and at >= ?4 limit 1";
    if batch.tx.one(told, values![workspace, KIND, title, from], |row| row.int(0))?.is_some() {
        return Ok(());
    }
    alerts::add(&batch.tx, workspace, KIND, batch.now, title, body)?;
    outbox::mail_admins(&batch.tx, workspace, batch.now, title, body)
}
