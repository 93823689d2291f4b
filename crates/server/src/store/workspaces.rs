//! Workspaces: their settings, their plan and its periods.

use billing::ledger::{Command, GrantTerms};
use billing::{Amount, GrantKind, Time};
use sha2::{Digest, Sha256};

use super::committer::{Key, KeyKind, Post};
use super::db::{Row, Tx};
use super::{Error, Store, alerts};
use crate::{clock, values};

/// A workspace as it is stored.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub id: i64,
    pub name: String,
    pub plan: Option<String>,
    pub plan_credits: Option<i64>,
    pub collection: String,
    pub time_zone: String,
    pub admin_email: Option<String>,
    pub external_id: Option<String>,
    pub low: String,
    pub critical: String,
    pub emails: Vec<String>,
    pub anchor: Time,
    pub next_period: Option<Time>,
    pub created_at: Time,
}

/// What a new workspace is made of.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    pub name: String,
    pub plan: Option<(String, i64)>,
    pub collection: String,
    pub time_zone: String,
    pub admin_email: Option<String>,
    pub external_id: Option<String>,
    /// The canonical request, so that the same external id with the same body is the same workspace.
    pub request: String,
    /// The anchor of its periods: the moment of the request.
    pub anchor: Time,
    /// The end of the first period, when the plan's credits are granted now.
    pub first_period_end: Option<Time>,
}

/// A period that begins.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub number: i64,
    pub starts_at: Time,
    pub ends_at: Time,
    pub credits: i64,
}

const WORKSPACE: &str = "select workspace, name, plan, plan_credits, collection, time_zone, admin_email, external_id, low, critical, emails,
    anchor, next_period, created_at from workspace";

fn read(row: &Row<'_>) -> Result<Workspace, Error> {
    Ok(Workspace {
        id: row.int(0)?,
        name: row.text(1)?,
        plan: row.opt_text(2)?,
        plan_credits: row.opt_int(3)?,
        collection: row.text(4)?,
        time_zone: row.text(5)?,
        admin_email: row.opt_text(6)?,
        external_id: row.opt_text(7)?,
        low: row.text(8)?,
        critical: row.text(9)?,
        emails: serde_json::from_str(&row.text(10)?).unwrap_or_default(),
        anchor: row.time(11)?,
        next_period: row.opt_time(12)?,
        created_at: row.time(13)?,
    })
}

fn find(tx: &Tx<'_>, id: i64) -> Result<Workspace, Error> {
    tx.one(&format!("{WORKSPACE} where workspace = ?1"), values![id], read)?.ok_or(Error::NotFound)
}

impl Store {
    /// Makes a workspace and grants its first period. With an external id that exists: the existing one (`false`), or a
    /// conflict when the request differs.
    pub async fn create_workspace(&self, new: NewWorkspace) -> Result<(Workspace, bool), Error> {
        let id = clock::fresh_id();
        self.write(id, move |batch| {
            let tx = &batch.tx;
            if let Some(external_id) = &new.external_id {
                let known = tx.one(
                    "select owner from external_id where external_id = ?1",
                    values![external_id],
                    |row| row.int(0),
                )?;
                if let Some(known) = known {
                    let request = "select request from workspace where workspace = ?1";
                    let request = tx.one(request, values![known], |row| row.opt_text(0))?.flatten();
                    if request.as_ref() == Some(&new.request) {
                        return Ok((find(tx, known)?, false));
                    }
                    let detail = "this external_id belongs to a workspace that was made by another request";
                    return Err(Error::Conflict("external_id_taken", detail));
                }
            }
            insert(tx, id, &new, batch.now)?;
            if let (Some((_, credits)), Some(ends_at)) = (&new.plan, new.first_period_end) {
                grant_period(
                    batch,
                    id,
                    Period { number: 0, starts_at: new.anchor, ends_at, credits: *credits },
                )?;
            }
            Ok((find(&batch.tx, id)?, true))
        })
        .await
    }

    /// One workspace.
    pub async fn workspace(&self, id: i64) -> Result<Workspace, Error> {
        self.read(move |tx| find(tx, id)).await
    }

    /// Workspaces, newest first; or the one with this external id.
    pub async fn workspaces(
        &self,
        external_id: Option<String>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Workspace>, Error> {
        self.read(move |tx| match external_id {
            Some(external_id) => {
                let owner = "select owner from external_id where external_id = ?1";
                let owner = tx.one(owner, values![&external_id], |row| row.int(0))?;
                owner.map(|owner| find(tx, owner)).transpose().map(|found| found.into_iter().collect())
            }
            None => {
                let page = format!("{WORKSPACE} where workspace < ?1 order by workspace desc limit ?2");
                tx.query(&page, values![before.unwrap_or(i64::MAX), limit], read)
            }
        })
        .await
    }

    /// Changes a workspace's settings.
    pub async fn update_workspace(&self, changed: Workspace) -> Result<(), Error> {
        self.write(changed.id, move |batch| {
            batch.load(changed.id)?;
            let emails = serde_json::to_string(&changed.emails).unwrap_or_default();
            batch.tx.execute(
                "update workspace set name = ?2, time_zone = ?3, admin_email = ?4, low = ?5, critical = ?6, emails = ?7 where workspace = ?1",
                values![
                    changed.id,
                    &changed.name,
                    &changed.time_zone,
                    changed.admin_email.as_ref(),
                    &changed.low,
                    &changed.critical,
                    &emails
                ],
            )?;
            batch.reload(changed.id)?;
            batch.look_again(changed.id)
        })
        .await
    }

    /// Workspaces whose next period has begun, with the number that it has.
    pub async fn due_periods(&self, limit: i64) -> Result<Vec<(Workspace, i64)>, Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            let due = format!("{WORKSPACE} where next_period <= ?1 order by next_period limit ?2");
            let due = tx.query(&due, values![now, limit], read)?;
            due.into_iter()
                .map(|workspace| {
                    let number = tx.int(
                        "select max(number) + 1 from period where workspace = ?1",
                        values![workspace.id],
                    )?;
                    Ok((workspace, number))
                })
                .collect()
        })
        .await
    }

    /// Grants a period's credits, once.
    pub async fn begin_period(&self, workspace: i64, period: Period) -> Result<(), Error> {
        self.write(workspace, move |batch| grant_period(batch, workspace, period)).await
    }

    /// The next moment after now at which a period of any workspace begins.
    pub async fn next_period(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(next_period) from workspace where next_period > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }
}

fn insert(tx: &Tx<'_>, id: i64, new: &NewWorkspace, now: Time) -> Result<(), Error> {
    let (plan, plan_credits) = new.plan.clone().unzip();
    tx.execute(
        "insert into workspace (workspace, name, plan, plan_credits, collection, time_zone, admin_email, external_id, request, low,
           critical, emails, anchor, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '20%', '5%', '[]', ?10, ?11)",
        values![
            id,
            &new.name,
            plan.as_ref(),
            plan_credits,
            &new.collection,
            &new.time_zone,
            new.admin_email.as_ref(),
            new.external_id.as_ref(),
            &new.request,
            new.anchor,
            now
        ],
    )?;
    if let Some(external_id) = &new.external_id {
        tx.execute("insert into external_id (external_id, owner) values (?1, ?2)", values![external_id, id])?;
    }
    // The chain begins with the workspace, so that one ledger can never stand in for another.
    let genesis: [u8; 32] = Sha256::digest(format!("scrip ledger 1 {id}")).into();
    tx.execute(
        "insert into account (workspace, seq, at, available, held, debt, hash, level, low_armed, critical_armed)
         values (?1, 0, 0, 0, 0, 0, ?2, 3, 0, 0)",
        values![id, &genesis],
    )?;
    Ok(())
}

fn grant_period(batch: &mut super::batch::Batch<'_>, workspace: i64, period: Period) -> Result<(), Error> {
    let Period { number, starts_at, ends_at, credits } = period;
    let known = "select 1 from period where workspace = ?1 and number = ?2";
    if batch.tx.one(known, values![workspace, number], |row| row.int(0))?.is_some() {
        return Ok(());
    }
    let credits = Amount::new(credits)
        .ok_or(Error::Invalid("credits", "a plan grants at least 1 credit".to_owned()))?;
    let terms =
        GrantTerms { credits, kind: GrantKind::Plan, priority: 0, effective_at: starts_at, expires_at: None };
    let mut post = Post::new(workspace, Command::Grant(terms), "renewal");
    post.key = Some(Key { kind: KeyKind::Period, key: number.to_string().into(), fingerprint: [0; 16] });
    let zone = find(&batch.tx, workspace)?.time_zone;
    let days =
        format!("{} to {}", crate::calendar::day(starts_at, &zone), crate::calendar::day(ends_at, &zone));
    post.reason = Some(format!("Plan credits, {days}").into());
    let answer = batch.post(&post)?;
    let grant = answer.entry.and_then(|recorded| recorded.entry.grant).map_or(0, |seq| seq.0);
    batch.tx.execute(
        "insert into period (workspace, number, starts_at, ends_at, grant_id) values (?1, ?2, ?3, ?4, ?5)",
        values![workspace, number, starts_at, ends_at, grant],
    )?;
    batch
        .tx
        .execute("update workspace set next_period = ?2 where workspace = ?1", values![workspace, ends_at])?;
    if number > 0 {
        let title = format!("Renewed: {} credits added.", alerts::thousands(credits.get()));
        alerts::add(&batch.tx, workspace, "renewal", batch.now, &title, &format!("Plan credits, {days}."))?;
    }
    Ok(())
}

/// The thresholds of a workspace, parsed.
pub fn thresholds(workspace: &Workspace) -> billing::alerts::Thresholds {
    billing::alerts::Thresholds {
        low: super::codec::threshold(&workspace.low),
        critical: super::codec::threshold(&workspace.critical),
    }
}
