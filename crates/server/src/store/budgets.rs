//! Budgets of a workspace: their rows, how far each is used, and what follows when they change or when time makes room.
//!
//! Owns where a day and a period begin, and the sums of what was used in them. `gate` asks them before each hold and charge.
//!
//! Invariant: work that a budget paused goes on once the budgets have room for it, whatever made that room.

mod gate;
pub(super) mod notice;

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::budget::{Budget, Over, Per, Scope, Sight, refusal};
use billing::campaign::Reason;
use billing::{Account, Time};

use super::batch::Batch;
use super::db::{Row, Tx};
use super::jobs::{self, Job, Pause};
use super::{Error, Store, entry, ledger, logbook, queries, subscriptions, workspaces};
use crate::{calendar, id, values};

pub use gate::Budgets;
pub(super) use gate::{ask, freed};

/// How many budgets a workspace has at most.
pub const MAX_BUDGETS: usize = 100;

/// When a total begins anew: never. Far away, but not so far that a sum overflows.
pub const NEVER: Time = Time(1 << 60);

/// A budget as it stands now.
#[derive(Clone, Debug)]
pub struct Standing {
    pub budget: Budget,
    /// What counts; of a budget for each, of the one that used most.
    pub used: Used,
    /// The campaign or member that used it, for a budget for each.
    pub by: Option<String>,
    /// When it began; 0 for a total.
    pub from: Time,
    /// When it begins anew; `None`: never.
    pub until: Option<Time>,
}

/// What counts in a budget, in credits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Charged since it began.
    pub charged: i64,
    /// Given back since it began, whenever it was charged.
    pub refunded: i64,
    /// Set aside now.
    pub held: i64,
}

impl Used {
    /// What was charged and not given back.
    pub fn spent(&self) -> i64 {
        self.charged - self.refunded
    }

    /// What the budget is used by: what was given back of an earlier day makes no room beyond it.
    pub fn credits(&self) -> i64 {
        self.spent().max(0) + self.held
    }
}

const BUDGET: &str = "select scope, label, per, credits from budget where workspace = ?1 order by id";

fn read(row: &Row<'_>) -> Result<Budget, Error> {
    let scope = [Scope::Workspace, Scope::Campaign, Scope::Member][row.int(0)?.clamp(0, 2) as usize];
    let per = [Per::Day, Per::Period, Per::Total][row.int(2)?.clamp(0, 2) as usize];
    let label = Some(row.text(1)?).filter(|label| !label.is_empty()).map(Arc::from);
    Ok(Budget { scope, label, per, credits: row.int(3)? })
}

/// The budgets of a workspace, in their order.
fn find(tx: &Tx<'_>, workspace: i64) -> Result<Vec<Budget>, Error> {
    tx.query(BUDGET, values![workspace], read)
}

/// From when to when credits count together.
fn span(tx: &Tx<'_>, workspace: i64, per: Per, at: Time) -> Result<(Time, Time), Error> {
    match per {
        Per::Total => Ok((Time(0), NEVER)),
        Per::Period => period(tx, workspace, at),
        Per::Day => {
            let zone = workspaces::find(tx, workspace)?.time_zone;
            Ok((calendar::at_minute(at, &zone, 0, 0), calendar::at_minute(at, &zone, 1, 0)))
        }
    }
}

/// The period that a moment is in: the plan's, or the calendar month.
pub(super) fn period(tx: &Tx<'_>, workspace: i64, at: Time) -> Result<(Time, Time), Error> {
    let last = subscriptions::last(tx, workspace)?;
    if let Some(last) = last.filter(|last| last.starts_at <= at && last.ends_at > at) {
        return Ok((last.starts_at, last.ends_at));
    }
    let zone = workspaces::find(tx, workspace)?.time_zone;
    let from = calendar::bucket_start(at, &zone, "month");
    Ok((from, calendar::period_start(from, &zone, 1, 1)))
}

/// What was charged and refunded since a moment, of one label or of each. All entries must be in their tables.
fn spent(
    tx: &Tx<'_>,
    workspace: i64,
    scope: Scope,
    label: Option<&str>,
    from: Time,
) -> Result<BTreeMap<String, Used>, Error> {
    let (column, group) = match scope {
        Scope::Workspace => ("''", ""),
        Scope::Campaign => ("campaign", " group by campaign"),
        Scope::Member => ("member", " group by member"),
    };
    let whole = Time(from.0.saturating_add(entry::SLOT - 1).div_euclid(entry::SLOT) * entry::SLOT);
    let sums = format!(
        "select {column}, cast(coalesce(sum(credits), 0) as bigint), cast(coalesce(sum(refunded_credits), 0) as bigint) from usage
         where workspace = ?1 and slot >= ?2 and ({column} = cast(?3 as text) or cast(?3 as text) is null){group}"
    );
    let sums = tx.query(&sums, values![workspace, whole, label], |row| {
        Ok((row.text(0)?, Used { charged: row.int(1)?, refunded: row.int(2)?, held: 0 }))
    })?;
    let mut sums = BTreeMap::from_iter(sums);
    for row in queries::cut_slot(tx, workspace, from, whole)? {
        let own = match scope {
            Scope::Workspace => String::new(),
            Scope::Campaign => row.campaign,
            Scope::Member => row.member,
        };
        if label.is_none_or(|label| label == own) {
            let used = sums.entry(own).or_default();
            (used.charged, used.refunded) =
                (used.charged + row.credits, used.refunded + row.refunded_credits);
        }
    }
    Ok(sums)
}

/// How far a budget is used. Of one for each, the one that used most.
fn standing(
    tx: &Tx<'_>,
    workspace: i64,
    account: &Account,
    budget: Budget,
    now: Time,
) -> Result<Standing, Error> {
    let (from, until) = span(tx, workspace, budget.per, now)?;
    let mut sums = spent(tx, workspace, budget.scope, budget.label.as_deref(), from)?;
    // Work without a label is in no budget of campaigns or members.
    sums.retain(|label, _| !label.is_empty() || budget.scope == Scope::Workspace);
    for hold in account.holds.values().filter(|hold| hold.is_open()) {
        if let Some(label) = budget.counts(&hold.labels) {
            let label = label.map_or("", |label| label);
            sums.entry(label.to_owned()).or_default().held += hold.price.amount();
        }
    }
    let most = sums.into_iter().max_by_key(|(_, used)| used.credits()).filter(|(_, used)| used.credits() > 0);
    let is_each = budget.scope != Scope::Workspace && budget.label.is_none();
    let (by, used) = most.unwrap_or_default();
    let by = Some(by).filter(|by| is_each && !by.is_empty());
    Ok(Standing { budget, used, by, from, until: Some(until).filter(|until| *until < NEVER) })
}

impl Store {
    /// The budgets of a workspace, and how they stand.
    pub async fn budgets(&self, workspace: i64) -> Result<Vec<Standing>, Error> {
        let now = self.clock().now();
        self.read_ledger(Some(workspace), move |tx| {
            let budgets = find(tx, workspace)?;
            let loaded = ledger::load(tx, &[workspace], now)?.pop().flatten().ok_or(Error::NotFound)?;
            let stands = |budget| standing(tx, workspace, &loaded.account, budget, now);
            budgets.into_iter().map(stands).collect()
        })
        .await
    }

    /// Makes of a workspace's budgets what `change` makes of them. What they paused and now have room for goes on.
    pub async fn change_budgets(
        &self,
        workspace: i64,
        actor: String,
        change: impl Fn(Vec<Budget>) -> Result<Vec<Budget>, Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let old = find(&batch.tx, workspace)?;
            let new = change(old.clone())?;
            check(&new)?;
            if new == old {
                return Ok(());
            }
            let (name, words) = (id::workspace(workspace), (in_words(&old), in_words(&new)));
            let words = (Some(&*words.0), Some(&*words.1));
            logbook::note(batch, workspace, &actor, ("budgets", &name), words)?;
            batch.tx.execute("delete from budget where workspace = ?1", values![workspace])?;
            batch.tx.insert_all(
                "insert into budget (workspace, id, scope, label, per, credits) values (?1, ?2, ?3, ?4, ?5, ?6)",
                new.iter().enumerate().map(|(index, budget)| {
                    let label = budget.label.as_deref().unwrap_or("");
                    [
                        workspace.into(),
                        (index as i64).into(),
                        (budget.scope as i64).into(),
                        label.into(),
                        (budget.per as i64).into(),
                        budget.credits.into(),
                    ]
                }),
            )?;
            batch.reload(workspace)?;
            look(batch, workspace)
        })
        .await
    }

    /// Workspaces with work that a budget paused until now.
    pub async fn due_budgets(&self, limit: i64) -> Result<Vec<i64>, Error> {
        let now = self.clock().now();
        let due = "select distinct workspace from pause where until is not null and until <= ?1 limit ?2";
        self.read(move |tx| tx.query(due, values![now, limit], |row| row.int(0))).await
    }

    /// The next moment after now at which a budget begins anew that paused something.
    pub async fn next_budget(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(until) from pause where until is not null and until > ?1 and until < ?2";
        self.read(move |tx| Ok(tx.one(next, values![now, NEVER], |row| row.opt_time(0))?.flatten())).await
    }

    /// Looks whether what budgets paused may go on.
    pub async fn look_at_budgets(&self, workspace: i64) -> Result<(), Error> {
        self.write(workspace, move |batch| look(batch, workspace)).await
    }
}

fn check(budgets: &[Budget]) -> Result<(), Error> {
    if budgets.len() > MAX_BUDGETS {
        return Err(Error::Invalid("budgets", format!("must be at most {MAX_BUDGETS}")));
    }
    Ok(())
}

/// Budgets as people read them.
fn in_words(budgets: &[Budget]) -> String {
    let one = |budget: &Budget| {
        let scope = match (budget.scope, &budget.label) {
            (Scope::Workspace, _) => "workspace".to_owned(),
            (Scope::Campaign, None) => "each campaign".to_owned(),
            (Scope::Member, None) => "each member".to_owned(),
            (Scope::Campaign, Some(label)) => format!("campaign {label}"),
            (Scope::Member, Some(label)) => format!("member {label}"),
        };
        let per = ["a day", "a period", "in total"][budget.per as usize];
        format!("{scope}: {} {per}", budget.credits)
    };
    let all = budgets.iter().map(one).collect::<Vec<_>>().join("; ");
    if all.is_empty() { "none".to_owned() } else { all }
}

/// Pauses a job that a budget refused, until there is room, and tells of it.
pub(super) fn pause(batch: &mut Batch<'_>, workspace: i64, job: &mut Job, over: &Over) -> Result<(), Error> {
    let reason = Reason::CreditCap;
    let why = Pause { reason, since: batch.now, needed: Some(over.needed), available: None, by: None };
    notice::budget(batch, workspace, job, over)?;
    jobs::pause(&batch.tx, workspace, job, &why, batch.now)?;
    let until = until(batch, workspace)?;
    wait_until(batch, workspace, job.id, until)
}

/// The first moment at which any of the budgets begins anew.
fn until(batch: &mut Batch<'_>, workspace: i64) -> Result<Time, Error> {
    let now = batch.now;
    let mut first = NEVER;
    for per in find(&batch.tx, workspace)?.into_iter().map(|budget| budget.per) {
        first = first.min(span(&batch.tx, workspace, per, now)?.1);
    }
    Ok(first)
}

fn wait_until(batch: &mut Batch<'_>, workspace: i64, job: i64, until: Time) -> Result<(), Error> {
    batch.tx.execute(
        "update pause set until = ?4 where workspace = ?1 and job = ?2 and reason = ?3",
        values![workspace, job, Reason::CreditCap as i64, until],
    )?;
    if let Some(budgets) = &mut batch.cached(workspace).budgets {
        budgets.paused = true;
    }
    // Other nodes must know of it too.
    batch.touch(workspace);
    Ok(())
}

/// Lifts what budgets paused and now have room for; the rest waits for the next of them to begin anew.
pub(super) fn look(batch: &mut Batch<'_>, workspace: i64) -> Result<(), Error> {
    batch.load(workspace)?;
    let now = batch.now;
    let waiting =
        "select job, needed from pause where workspace = ?1 and until is not null order by since, job";
    let waiting =
        batch.tx.query(waiting, values![workspace], |row| Ok((row.int(0)?, row.opt_int(1)?.unwrap_or(0))))?;
    if let Some(budgets) = &mut batch.cached(workspace).budgets {
        budgets.paused = false;
    }
    for (id, needed) in waiting {
        let Some(mut job) = jobs::find(&batch.tx, workspace, id)? else { continue };
        let sights: Vec<Sight> = gate::sights(batch, workspace, &job.labels(workspace))?;
        let Some(over) = refusal(&sights, needed) else {
            jobs::lift(&batch.tx, workspace, &mut job, Reason::CreditCap, now)?;
            continue;
        };
        // It may be another limit than the one that paused it.
        if !over.may_pass {
            notice::budget(batch, workspace, &job, &over)?;
        }
        let until = until(batch, workspace)?;
        wait_until(batch, workspace, id, until)?;
    }
    Ok(())
}

/// The period of a workspace is another one.
pub(super) fn period_changed(batch: &mut Batch<'_>, workspace: i64) -> Result<(), Error> {
    batch.load(workspace)?;
    let Some(budgets) = &mut batch.cached(workspace).budgets else { return Ok(()) };
    budgets.forget_spans();
    if budgets.paused { look(batch, workspace) } else { Ok(()) }
}
