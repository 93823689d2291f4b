//! What becomes of leads in campaigns. Reads only.

use billing::Time;

use crate::store::db::Row;
use crate::store::jobs::{self, Job, JobKind};
use crate::store::leads;
use crate::store::{Error, Store};
use crate::values;

/// A lead of a campaign.
#[derive(Clone, Debug)]
pub struct CampaignLead {
    pub lead: i64,
    pub name: String,
    pub email: Option<String>,
    pub position: i64,
    pub state: i64,
    /// Running time at which it is due.
    pub due: Option<i64>,
    pub hold: Option<i64>,
    pub detail: Option<String>,
}

/// A step that a lead is past.
#[derive(Clone, Debug)]
pub struct PastStep {
    /// From 0.
    pub step: i64,
    /// A stored `StepOutcome`.
    pub outcome: i64,
    pub at: Time,
    pub detail: String,
}

/// A lead in one campaign: where it is, and the steps behind it.
#[derive(Clone, Debug)]
pub struct Course {
    pub campaign: Job,
    pub place: CampaignLead,
    pub past: Vec<PastStep>,
}

const PLACE: &str =
    "select w.lead, l.name, l.email, w.position, w.state, w.due, w.hold, w.detail, w.job from work w
    join lead l on l.workspace = w.workspace and l.id = w.lead";
/// The list of steps lets the key find each row; a campaign has at most 20.
const PAST: &str = "select step, outcome, at, coalesce(detail, '') from step_result where workspace = ?1 and job = ?2
    and step in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19) and lead = ?3 order by step";

fn place(row: &Row<'_>) -> Result<CampaignLead, Error> {
    let (lead, name, email) = (row.int(0)?, row.text(1)?, row.opt_text(2)?);
    let (position, state, due) = (row.int(3)?, row.int(4)?, row.opt_int(5)?);
    let (hold, detail) = (row.opt_int(6)?, row.opt_text(7)?);
    Ok(CampaignLead { lead, name, email, position, state, due, hold, detail })
}

impl Store {
    /// The leads of a campaign, or only those in doubt: those that were made last first.
    pub async fn campaign_leads(
        &self,
        workspace: i64,
        job: i64,
        in_doubt: bool,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<CampaignLead>, Error> {
        let before = before.unwrap_or(i64::MAX);
        self.read(move |tx| {
            // Both conditions, so that the index of what waits for a person is found.
            let only = if in_doubt { "and w.state in (1, 6) and w.state = 1" } else { "" };
            let page = format!(
                "{PLACE} where w.workspace = ?1 and w.job = ?2 and w.lead < ?3 {only} order by w.lead desc limit ?4"
            );
            tx.query(&page, values![workspace, job, before, limit], place)
        })
        .await
    }

    /// The campaigns that a lead is in, newest first, and whether it is on the blocklist.
    pub async fn courses(&self, workspace: i64, lead: i64, limit: i64) -> Result<(Vec<Course>, bool), Error> {
        self.read(move |tx| {
            let known = leads::find(tx, workspace, lead)?.ok_or(Error::NotFound)?;
            let newest =
                format!("{PLACE} where w.workspace = ?1 and w.lead = ?2 order by w.job desc limit ?3");
            let places =
                tx.query(&newest, values![workspace, lead, limit], |row| Ok((row.int(8)?, place(row)?)))?;
            let mut courses = Vec::with_capacity(places.len());
            for (job, place) in places {
                let Some(campaign) = jobs::find(tx, workspace, job)? else { continue };
                if campaign.kind != JobKind::Campaign {
                    continue;
                }
                let past = tx.query(PAST, values![workspace, job, lead], |row| {
                    let (step, outcome) = (row.int(0)?, row.int(1)?);
                    Ok(PastStep { step, outcome, at: row.time(2)?, detail: row.text(3)? })
                })?;
                courses.push(Course { campaign, place, past });
            }
            Ok((courses, leads::blocked(tx, workspace, &known)?))
        })
        .await
    }
}
