//! Workspaces: what they are made of, and their settings. Their plan's life is in `subscriptions`.

use billing::Time;
use billing::alerts::Threshold;
use sha2::{Digest, Sha256};

use super::batch::Batch;
use super::codec::threshold_text;
use super::db::{Row, Tx};
use super::subscriptions::{Standing, Terms, periods};
use super::{Error, Store, logbook, people};
use crate::{clock, id, values};

/// A workspace as it is stored.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub id: i64,
    pub name: String,
    pub plan: Option<String>,
    pub plan_credits: Option<i64>,
    /// The plan as it was agreed.
    pub terms: Option<Terms>,
    /// The plan that begins with the next renewal, where it is another.
    pub next_plan: Option<String>,
    /// How the subscription stands; `None`: there never was one.
    pub subscription: Option<Standing>,
    /// The payment that the next period waits for.
    pub awaited: Option<i64>,
    /// Whether it had its trial.
    pub trialed: bool,
    pub collection: String,
    pub time_zone: String,
    pub admin_email: Option<String>,
    pub external_id: Option<String>,
    pub low: String,
    pub critical: String,
    pub emails: Vec<String>,
    /// What its periods are counted from, and the number of the period that begins there.
    pub anchor: Time,
    pub first_period: i64,
    pub next_period: Option<Time>,
    /// The number of the period that begins then; `None`: there was none yet.
    pub next_number: Option<i64>,
    pub created_at: Time,
}

impl Workspace {
    /// When credits come next: not while they wait for a payment, nor after the last ones of a plan that ends.
    pub fn renews_at(&self) -> Option<Time> {
        let each = self.terms.as_ref().map_or(1, |terms| terms.months / terms.grant_months);
        let is_paid_then = (self.next_number.unwrap_or(0) - self.first_period) % each == 0;
        let ends = is_paid_then && self.subscription == Some(Standing::Canceling);
        self.next_period.filter(|_| self.awaited.is_none() && !ends)
    }

    /// Whether its money is collected by the provider of payments, so that nothing is granted before it is paid.
    pub fn pays(&self) -> bool {
        self.collection == "payments"
    }

    fn with(self, change: WorkspaceChange) -> Workspace {
        let WorkspaceChange { name, time_zone, admin_email, low, critical, emails } = change;
        Workspace {
            name: name.unwrap_or(self.name),
            time_zone: time_zone.unwrap_or(self.time_zone),
            admin_email: admin_email.unwrap_or(self.admin_email),
            low: low.map_or(self.low, threshold_text),
            critical: critical.map_or(self.critical, threshold_text),
            emails: emails.unwrap_or(self.emails),
            ..self
        }
    }
}

/// What a new workspace is made of.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    pub name: String,
    /// Its plan; where money is collected, it begins when it is paid.
    pub terms: Option<Terms>,
    pub collection: String,
    pub time_zone: String,
    pub admin_email: Option<String>,
    pub external_id: Option<String>,
    /// The canonical request, so that the same external id with the same body is the same workspace.
    pub request: String,
}

/// What is changed of a workspace's settings; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceChange {
    pub name: Option<String>,
    pub time_zone: Option<String>,
    /// `Some(None)`: it is given no address any more.
    pub admin_email: Option<Option<String>>,
    pub low: Option<Threshold>,
    pub critical: Option<Threshold>,
    pub emails: Option<Vec<String>>,
}

const WORKSPACE: &str = "select workspace, name, plan, plan_credits, collection, time_zone, admin_email, external_id, low, critical, emails,
    anchor, next_period, created_at, terms, next_plan, subscription, awaited, trialed, first_period,
    (select max(p.number) + 1 from period p where p.workspace = workspace.workspace) from workspace";

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
        terms: row.opt_text(14)?.and_then(|terms| serde_json::from_str(&terms).ok()),
        next_plan: row.opt_text(15)?,
        subscription: row.opt_int(16)?.map(Standing::of),
        awaited: row.opt_int(17)?,
        trialed: row.int(18)? != 0,
        first_period: row.int(19)?,
        next_number: row.opt_int(20)?,
    })
}

/// One workspace.
pub(super) fn find(tx: &Tx<'_>, id: i64) -> Result<Workspace, Error> {
    tx.one(&format!("{WORKSPACE} where workspace = ?1"), values![id], read)?.ok_or(Error::NotFound)
}

fn make(batch: &mut Batch<'_>, id: i64, new: &NewWorkspace) -> Result<Workspace, Error> {
    insert(&batch.tx, id, new, batch.now)?;
    if let Some(email) = &new.admin_email {
        people::admit_admin(batch, id, None, email)?;
    }
    let workspace = find(&batch.tx, id)?;
    if let Some(terms) = new.terms.as_ref().filter(|_| !workspace.pays()) {
        periods::begin(batch, &workspace, terms, workspace.anchor)?;
    }
    find(&batch.tx, id)
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
            Ok((make(batch, id, &new)?, true))
        })
        .await
    }

    /// Makes the first workspace of a new server, for its first Admin. Of two at the same time one makes it.
    pub async fn create_first_workspace(&self, new: NewWorkspace) -> Result<Workspace, Error> {
        let id = clock::fresh_id();
        self.write(id, move |batch| {
            let first =
                "insert into meta (name, value) values ('first_admin', ?1) on conflict (name) do nothing";
            if batch.tx.execute(first, values![id.to_string()])? == 0 {
                return Err(Error::Conflict("not_new", "this server has its first workspace already"));
            }
            make(batch, id, &new)
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
    pub async fn update_workspace(
        &self,
        workspace: i64,
        change: WorkspaceChange,
        actor: String,
    ) -> Result<Workspace, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let known = find(&batch.tx, workspace)?;
            let changed = known.clone().with(change.clone());
            let emails = serde_json::to_string(&changed.emails).unwrap_or_default();
            let (before, after) = (in_words(&known), in_words(&changed));
            if before != after {
                let (name, words) = (id::workspace(workspace), (Some(&*before), Some(&*after)));
                logbook::note(batch, workspace, &actor, ("workspace.settings", &name), words)?;
            }
            if known.time_zone != changed.time_zone {
                // Of several changes at one moment the first says what was before.
                batch.tx.execute(
                    "insert into zone (workspace, until, time_zone) values (?1, ?2, ?3) on conflict (workspace, until) do nothing",
                    values![workspace, batch.now, &known.time_zone],
                )?;
            }
            batch.tx.execute(
                "update workspace set name = ?2, time_zone = ?3, admin_email = ?4, low = ?5, critical = ?6, emails = ?7 where workspace = ?1",
                values![
                    workspace,
                    &changed.name,
                    &changed.time_zone,
                    changed.admin_email.as_ref(),
                    &changed.low,
                    &changed.critical,
                    &emails
                ],
            )?;
            // Who was taken out since must not come back with a change of something else.
            if let Some(Some(email)) = &change.admin_email {
                people::admit_admin(batch, workspace, known.admin_email.as_deref(), email)?;
            }
            batch.reload(workspace)?;
            batch.look_again(workspace)?;
            Ok(changed)
        })
        .await
    }
}

/// What of a workspace people set.
fn in_words(workspace: &Workspace) -> String {
    let Workspace { name, time_zone, admin_email, low, critical, emails, .. } = workspace;
    let admin = admin_email.as_deref().unwrap_or("nobody");
    let emails = if emails.is_empty() { "the admins".to_owned() } else { emails.join(" ") };
    format!("{name}; {time_zone}; admin {admin}; low {low}, critical {critical}; mails to {emails}")
}

fn insert(tx: &Tx<'_>, id: i64, new: &NewWorkspace, now: Time) -> Result<(), Error> {
    let plan = new.terms.as_ref().map(|terms| (&terms.plan, terms.credits));
    let terms = new.terms.as_ref().and_then(|terms| serde_json::to_string(terms).ok());
    tx.execute(
        "insert into workspace (workspace, name, plan, plan_credits, terms, subscription, trialed, first_period, collection, time_zone, admin_email, external_id, request, low,
           critical, emails, anchor, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11, '20%', '5%', '[]', ?12, ?12)",
        values![
            id,
            &new.name,
            plan.map(|(plan, _)| plan),
            plan.map(|(_, credits)| credits),
            terms.as_ref(),
            plan.map(|_| Standing::Incomplete as i64),
            &new.collection,
            &new.time_zone,
            new.admin_email.as_ref(),
            new.external_id.as_ref(),
            &new.request,
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

/// The thresholds of a workspace, parsed.
pub fn thresholds(workspace: &Workspace) -> billing::alerts::Thresholds {
    billing::alerts::Thresholds {
        low: super::codec::threshold(&workspace.low),
        critical: super::codec::threshold(&workspace.critical),
    }
}
