//! What is known about a lead when its next piece of work is decided.

use billing::campaign::{Facts, Position};

use crate::store::Error;
use crate::store::db::Tx;
use crate::store::jobs::{Job, JobKind};
use crate::store::leads::{self, Lead};
use crate::values;

pub(super) fn facts(
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
        Position::Step(index) => (false, stored_text(tx, workspace, job.id, lead.id, index)?),
    };
    let (approved, review) = message.as_ref().map_or((false, false), |text| (text.approved, text.review));
    let facts = Facts {
        replied: lead.replied_at.is_some() && job.kind == JobKind::Campaign,
        blocked: leads::blocked(tx, workspace, lead)?,
        filled,
        email: lead.usable_email().is_some(),
        linkedin: lead.linkedin_url.is_some(),
        written: message.is_some(),
        approved,
        review,
    };
    Ok((facts, message.map(|message| message.text)))
}

/// The stored message of a step, as far as its sending depends on it.
pub(super) struct StoredText {
    pub(super) text: String,
    pub(super) approved: bool,
    pub(super) review: bool,
}

pub(super) fn stored_text(
    tx: &Tx<'_>,
    workspace: i64,
    job: i64,
    lead: i64,
    step: usize,
) -> Result<Option<StoredText>, Error> {
    tx.one(
        "select text, approved_at, review from message where workspace = ?1 and job = ?2 and lead = ?3 and step = ?4",
        values![workspace, job, lead, step],
        |row| Ok(StoredText { text: row.text(0)?, approved: row.opt_int(1)?.is_some(), review: row.int(2)? != 0 }),
    )
}
