//! What people's screens need beyond the balance: counts, names and what is due, each in one read. Reads only.

use std::collections::{HashMap, HashSet};

use billing::Time;
use billing::alerts::Level;
use billing::campaign::{Plan, Position};
use billing::units::DAY;

use super::db::Tx;
use super::work::{self, STEPS};
use super::{Error, Store, jobs, ledger};
use crate::values;

/// How a workspace stands, for the chip and the banner.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Credits charged in the last 7 days.
    pub charged_week: i64,
    pub unread: i64,
    pub active_campaigns: i64,
    /// Campaigns paused because credits ran out.
    pub paused_campaigns: i64,
    /// Leads that keep their place in launched work; counted while the workspace is out.
    pub waiting_leads: i64,
    /// Credits held for what may or may not have happened.
    pub unconfirmed: i64,
    /// Credits granted in the last 30 days: what percentages are of without a plan.
    pub granted_month: i64,
    /// The last time credits brought everything back.
    pub restored: Option<Restored>,
}

/// Credits that ended *out*.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    pub at: Time,
    pub added: i64,
    pub resumed_campaigns: i64,
    /// Messages that are due now, and over how many days they go out.
    pub overdue: Option<(i64, i64)>,
}

/// How long *restored* is told of, in microseconds.
const TOLD: i64 = 600 * billing::units::SECOND;

impl Restored {
    /// Whether it is recent enough to be told of.
    pub fn is_told(&self, now: Time) -> bool {
        now.0 - self.at.0 <= TOLD
    }
}

/// Leads of one job that wait at one position.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub job: i64,
    pub position: Position,
    /// Days from now, rounded up; 0 is due now.
    pub days: i64,
    pub leads: i64,
    /// For how many of them the message of this step is written already.
    pub written: i64,
}

/// Work that waits, with what its jobs do.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    pub due: Vec<Due>,
    pub plans: HashMap<i64, Plan>,
}

/// A workspace as the operator lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: i64,
    pub name: String,
    pub plan: Option<String>,
    pub level: Level,
    pub available: i64,
    pub held: i64,
    pub debt: i64,
}

/// Names behind ids.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub jobs: HashMap<i64, String>,
    /// Name and company.
    pub leads: HashMap<i64, (String, String)>,
}

impl Store {
    /// How a workspace stands.
    pub async fn standing(&self, workspace: i64) -> Result<Standing, Error> {
        let now = self.clock().now();
        self.read_ledger(Some(workspace), move |tx| {
            let count = |sql: &str| tx.int(sql, values![workspace]);
            // Counting every waiting lead is only worth it for the banner that says so.
            let out = count("select level from account where workspace = ?1")? == Level::Out as i64;
            let waiting = "select count(*) from work w join job j on j.workspace = w.workspace and j.id = w.job
                where w.workspace = ?1 and w.due is not null and w.lead > 0 and j.stage = 1";
            Ok(Standing {
                charged_week: charged(tx, workspace, Time(now.0 - 7 * DAY), Time(now.0 + super::entry::SLOT))?,
                unread: count("select count(*) from notice where workspace = ?1 and read_at is null")?,
                active_campaigns: count(
                    "select count(*) from job where workspace = ?1 and kind = 0 and running_since is not null",
                )?,
                paused_campaigns: count(
                    "select count(*) from pause p join job j on j.workspace = p.workspace and j.id = p.job
                     where p.workspace = ?1 and p.reason = 0 and j.kind = 0",
                )?,
                waiting_leads: if out { count(waiting)? } else { 0 },
                unconfirmed: count(&format!(
                    "select cast(sum(quantity * unit_price) as bigint) from hold where workspace = ?1 and {} and status = 2",
                    ledger::OPEN
                ))?,
                granted_month: tx.int(
                    "select cast(sum(granted) as bigint) from \"grant\" where workspace = ?1 and granted_at >= ?2 and scheduled = 0",
                    values![workspace, now.0 - ledger::RECENT],
                )?,
                restored: restored(tx, workspace, now)?,
            })
        })
        .await
    }

    /// Credits charged from slot to slot, refunds not taken off.
    pub async fn charged(&self, workspace: i64, from: Time, to: Time) -> Result<i64, Error> {
        self.read_ledger(Some(workspace), move |tx| charged(tx, workspace, from, to)).await
    }

    /// The current period of a plan and the one before it, as (start, end), newest first.
    pub async fn periods(&self, workspace: i64) -> Result<Vec<(Time, Time)>, Error> {
        self.read(move |tx| {
            tx.query(
                "select starts_at, ends_at from period where workspace = ?1 order by number desc limit 2",
                values![workspace],
                |row| Ok((row.time(0)?, row.time(1)?)),
            )
        })
        .await
    }

    /// What waits in everything that runs, or would run if there were credits.
    pub async fn waiting(&self, workspace: i64) -> Result<Waiting, Error> {
        let now = self.clock().now();
        self.read_ledger(Some(workspace), move |tx| {
            // In the job's running time, so that what a pause froze is as far away as it was.
            let days = "(w.due - j.ran - case when j.running_since is null then 0 else ?2 - j.running_since end + ?3 - 1) / ?3";
            let waiting = format!(
                "select job, position, days, count(*), cast(sum(written) as bigint) from (
                   select w.job, w.position, case when {days} < 0 then 0 else {days} end as days,
                     case when exists (select 1 from message m where m.workspace = w.workspace and m.job = w.job
                       and m.lead = w.lead and m.step = w.position - {STEPS}) then 1 else 0 end as written
                   from work w join job j on j.workspace = w.workspace and j.id = w.job
                   where w.workspace = ?1 and w.due is not null and w.lead > 0 and j.stage = 1 and not exists
                     (select 1 from pause p where p.workspace = j.workspace and p.job = j.id and p.reason <> 0)) as waiting
                 group by job, position, days"
            );
            let due = tx.query(&waiting, values![workspace, now, DAY], |row| {
                let position = work::position(row.int(1)?);
                Ok(Due { job: row.int(0)?, position, days: row.int(2)?, leads: row.int(3)?, written: row.int(4)? })
            })?;
            let mut plans = HashMap::new();
            for Due { job, .. } in &due {
                if let (false, Some(found)) = (plans.contains_key(job), jobs::find(tx, workspace, *job)?) {
                    plans.insert(*job, found.definition.plan());
                }
            }
            Ok(Waiting { due, plans })
        })
        .await
    }

    /// The names of jobs and leads; unknown ones are left out.
    pub async fn names(
        &self,
        workspace: i64,
        jobs: HashSet<i64>,
        leads: HashSet<i64>,
    ) -> Result<Names, Error> {
        self.read(move |tx| {
            let mut names = Names::default();
            let name = "select name from job where workspace = ?1 and id = ?2";
            for job in jobs {
                if let Some(name) = tx.one(name, values![workspace, job], |row| row.text(0))? {
                    names.jobs.insert(job, name);
                }
            }
            let name = "select name, company from lead where workspace = ?1 and id = ?2";
            for lead in leads {
                let found = tx.one(name, values![workspace, lead], |row| Ok((row.text(0)?, row.text(1)?)))?;
                if let Some(found) = found {
                    names.leads.insert(lead, found);
                }
            }
            Ok(names)
        })
        .await
    }

    /// Up to two campaigns of this name, and whether anything was charged under it as a label.
    pub async fn called(&self, workspace: i64, name: String) -> Result<(Vec<i64>, bool), Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let campaigns =
                "select id from job where workspace = ?1 and kind = 0 and name = ?2 order by id limit 2";
            let charged = "select 1 from usage where workspace = ?1 and campaign = ?2 limit 1";
            let of = values![workspace, &name];
            let label = tx.one(charged, of, |row| row.int(0))?;
            Ok((tx.query(campaigns, of, |row| row.int(0))?, label.is_some()))
        })
        .await
    }

    /// How many leads a workspace has.
    pub async fn lead_count(&self, workspace: i64) -> Result<i64, Error> {
        self.read(move |tx| tx.int("select count(*) from lead where workspace = ?1", values![workspace]))
            .await
    }

    /// The newest leads that are not in this campaign.
    pub async fn leads_outside(&self, workspace: i64, campaign: i64, limit: i64) -> Result<Vec<i64>, Error> {
        let outside = "select l.id from lead l where l.workspace = ?1 and not exists (select 1 from work w
            where w.workspace = l.workspace and w.job = ?2 and w.lead = l.id) order by l.id desc limit ?3";
        self.read(move |tx| tx.query(outside, values![workspace, campaign, limit], |row| row.int(0))).await
    }

    /// Which of these leads are in a campaign.
    pub async fn in_campaigns(&self, workspace: i64, leads: Vec<i64>) -> Result<HashSet<i64>, Error> {
        self.read(move |tx| {
            let mut found = HashSet::new();
            let inside = "select 1 from work w join job j on j.workspace = w.workspace and j.id = w.job
                where w.workspace = ?1 and w.lead = ?2 and j.kind = 0 limit 1";
            for lead in leads {
                if tx.one(inside, values![workspace, lead], |row| row.int(0))?.is_some() {
                    found.insert(lead);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Workspaces with their balances, newest first; with a query, those of that id, external id or part of a name.
    pub async fn listed(&self, query: String, before: Option<i64>, limit: i64) -> Result<Vec<Listed>, Error> {
        let found = self.read(move |tx| {
            let id = crate::id::parse_workspace(&query);
            let escaped = query.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            tx.query(
                "select w.workspace from workspace w
                 where w.workspace < ?1 and (?2 = '' or w.workspace = ?3 or w.external_id = ?2 or lower(w.name) like ?4 escape '\\')
                 order by w.workspace desc limit ?5",
                values![before.unwrap_or(i64::MAX), &query, id, &format!("%{escaped}%"), limit],
                |row| row.int(0),
            )
        });
        let mut listed = Vec::new();
        for id in found.await? {
            // One by one: those that are listed must be up to date, and nobody waits for all others.
            listed.extend(self.read_ledger(Some(id), move |tx| list(tx, id)).await?);
        }
        Ok(listed)
    }
}

fn list(tx: &Tx<'_>, id: i64) -> Result<Option<Listed>, Error> {
    tx.one(
        "select w.name, w.plan, a.level, a.available, a.held, a.debt from workspace w
         join account a on a.workspace = w.workspace where w.workspace = ?1",
        values![id],
        |row| {
            let (name, plan, level) = (row.text(0)?, row.opt_text(1)?, super::codec::level(row.int(2)?));
            let (available, held, debt) = (row.int(3)?, row.int(4)?, row.int(5)?);
            Ok(Listed { id, name, plan, level, available, held, debt })
        },
    )
}

fn charged(tx: &Tx<'_>, workspace: i64, from: Time, to: Time) -> Result<i64, Error> {
    let sum =
        "select cast(sum(credits) as bigint) from usage where workspace = ?1 and slot >= ?2 and slot < ?3";
    tx.int(sum, values![workspace, from, to])
}

/// Only what the notice told of: a hold that gave its credits back ends *out* quietly.
fn restored(tx: &Tx<'_>, workspace: i64, now: Time) -> Result<Option<Restored>, Error> {
    let told = tx.one(
        "select a.restored_at from account a where a.workspace = ?1 and a.out_since is null and exists
           (select 1 from notice n where n.workspace = a.workspace and n.kind = 'restored' and n.at = a.restored_at)",
        values![workspace],
        |row| row.time(0),
    )?;
    let Some(at) = told else { return Ok(None) };
    let added = tx.one(
        "select granted from \"grant\" where workspace = ?1 and granted_at >= ?2 order by id limit 1",
        values![workspace, at],
        |row| row.int(0),
    )?;
    // What came back then has run since that very moment.
    let resumed = "select count(*) from job where workspace = ?1 and kind = 0 and running_since = ?2";
    let resumed_campaigns = tx.int(resumed, values![workspace, at])?;
    let mut restored = added.map(|added| Restored { at, added, resumed_campaigns, overdue: None });
    if let Some(restored) = restored.as_mut().filter(|it| it.resumed_campaigns > 0 && it.is_told(now)) {
        restored.overdue = jobs::overdue(tx, workspace, at, now)?;
    }
    Ok(restored)
}
