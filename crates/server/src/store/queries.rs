//! What the dashboard and the API read: balance, entries, holds, usage, and the state of campaigns. Reads only.

mod progress;

use billing::account::{Grant, Hold};
use billing::{Seq, Time};

use super::codec;
use super::db::{BY_OPERATION, Row, Tx};
use super::entry::{self, ENTRY, Recorded};
use super::ledger::{self, HOLD};
use super::subscriptions::{Standing, Terms};
use super::{Error, Store};
use crate::values;

pub use progress::Progress;

/// An account as it is shown.
#[derive(Clone, Debug)]
pub struct Balance {
    pub available: i64,
    pub held: i64,
    pub debt: i64,
    pub level: billing::alerts::Level,
    pub needed: Option<i64>,
    pub out_since: Option<Time>,
    pub restored_at: Option<Time>,
    pub grants: Vec<Grant>,
    pub renews_at: Option<Time>,
    pub renewal_credits: Option<i64>,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Stored kinds; empty means all that change what a person sees.
    pub kinds: Vec<i64>,
    pub operation: Option<String>,
    pub campaign: Option<String>,
    pub member: Option<String>,
    pub lead: Option<String>,
    pub from: Option<Time>,
    pub to: Option<Time>,
    /// Entries before this one (newest first) or after it (oldest first).
    pub cursor: Option<i64>,
    pub ascending: bool,
}

/// One slot of usage.
#[derive(Clone, Debug)]
pub struct UsageRow {
    pub at: Time,
    pub operation: String,
    pub campaign: String,
    pub member: String,
    pub channel: String,
    pub quantity: i64,
    pub credits: i64,
    pub not_charged: i64,
    pub refunded_credits: i64,
}

/// A lead in a campaign.
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

/// The kinds of entries that change the balance or explain it: the ones the API lists.
pub const LISTED: [i64; 7] = [1, 2, 7, 9, 10, 11, 12];

/// When credits come next, and how many. Not while they wait for a payment, nor after the last ones of a plan that ends; how
/// many another plan brings is not known here.
fn renewal(row: &Row<'_>) -> Result<(Option<Time>, Option<i64>), Error> {
    let (Some(at), credits) = (row.opt_time(7)?, row.opt_int(8)?) else { return Ok((None, None)) };
    let terms = row.opt_text(11)?.and_then(|terms| serde_json::from_str::<Terms>(&terms).ok());
    let each = terms.map_or(1, |terms| terms.months / terms.grant_months);
    let is_paid_then = row.opt_int(12)?.unwrap_or(0) % each == 0;
    if is_paid_then && row.opt_int(9)? == Some(Standing::Canceling as i64) {
        return Ok((None, None));
    }
    let other = is_paid_then && row.opt_text(10)?.is_some();
    Ok((Some(at), credits.filter(|_| !other)))
}

impl Store {
    /// The balance of a workspace.
    pub async fn balance(&self, workspace: i64) -> Result<Balance, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let row = tx.one(
                "select a.available, a.held, a.debt, a.level, a.needed, a.out_since, a.restored_at, case when w.awaited is null then w.next_period end, w.plan_credits,
                   w.subscription, w.next_plan, w.terms, (select max(p.number) + 1 from period p where p.workspace = w.workspace) - w.first_period
                 from account a join workspace w on w.workspace = a.workspace where a.workspace = ?1",
                values![workspace],
                |row| {
                    let (renews_at, credits) = renewal(row)?;
                    Ok(Balance {
                        available: row.int(0)?,
                        held: row.int(1)?,
                        debt: row.int(2)?,
                        level: codec::level(row.int(3)?),
                        needed: row.opt_int(4)?,
                        out_since: row.opt_time(5)?,
                        restored_at: row.opt_time(6)?,
                        grants: Vec::new(),
                        renewal_credits: credits,
                        renews_at,
                    })
                },
            )?;
            let balance = row.ok_or(Error::NotFound)?;
            Ok(Balance { grants: ledger::live_grants(tx, workspace)?, ..balance })
        })
        .await
    }

    /// What can be spent now, and nothing else.
    pub async fn available(&self, workspace: i64) -> Result<i64, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let available = "select available from account where workspace = ?1";
            tx.one(available, values![workspace], |row| row.int(0))?.ok_or(Error::NotFound)
        })
        .await
    }

    /// One grant.
    pub async fn grant(&self, workspace: i64, grant: Seq) -> Result<Grant, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            ledger::load_grant(tx, workspace, grant)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// One hold.
    pub async fn hold(&self, workspace: i64, hold: Seq) -> Result<Hold, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            ledger::load_hold(tx, workspace, hold)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// The hold that was made with a key. The writer knows: it has the newest keys in memory.
    pub async fn hold_by_key(&self, workspace: i64, key: String) -> Result<Option<Seq>, Error> {
        let key = key.into();
        self.write(workspace, move |batch| batch.hold_made_with(workspace, &key)).await
    }

    /// Holds, newest first, of one status or all.
    pub async fn holds(
        &self,
        workspace: i64,
        status: Option<i64>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Hold>, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let page = format!("{HOLD} where workspace = ?1 and id < ?2 and (status = ?3 or ?3 is null) order by id desc limit ?4");
            tx.query(&page, values![workspace, before.unwrap_or(i64::MAX), status, limit], ledger::read_hold)
        })
        .await
    }

    /// Entries, in pages.
    pub async fn entries(
        &self,
        workspace: i64,
        filter: EntryFilter,
        limit: i64,
    ) -> Result<Vec<Recorded>, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let kinds = if filter.kinds.is_empty() { LISTED.to_vec() } else { filter.kinds.clone() };
            let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
            let (compare, order) = if filter.ascending { (">", "asc") } else { ("<", "desc") };
            let cursor = filter.cursor.unwrap_or(if filter.ascending { 0 } else { i64::MAX });
            // What is not asked for is not in the statement, and an operation brings the words of its index.
            let asked = [
                (filter.operation.is_some(), "and e.kind in (7, 11) and e.operation = ?3"),
                (filter.campaign.is_some(), "and n.campaign = ?4"),
                (filter.member.is_some(), "and n.member = ?5"),
                (filter.lead.is_some(), "and n.lead = ?6"),
                (filter.from.is_some(), "and e.at >= ?7"),
                (filter.to.is_some(), "and e.at < ?8"),
            ];
            let asked: Vec<&str> = asked.into_iter().filter(|one| one.0).map(|one| one.1).collect();
            // SQLite has no idea how rare an operation is.
            let hint = if filter.operation.is_some() { BY_OPERATION } else { "" };
            let select = ENTRY.replacen("from entry e", &format!("from entry e {hint}"), 1);
            let page = format!(
                "{select} where e.workspace = ?1 and e.seq {compare} ?2 and e.kind in ({}) {}
                 order by e.seq {order} limit ?9",
                kinds.join(", "),
                asked.join(" "),
            );
            let (operation, campaign) = (filter.operation.as_ref(), filter.campaign.as_ref());
            let (member, lead) = (filter.member.as_ref(), filter.lead.as_ref());
            let values =
                values![workspace, cursor, operation, campaign, member, lead, filter.from, filter.to, limit];
            tx.query(&page, values, entry::read_entry)
        })
        .await
    }

    /// Usage from `from` to `to`, oldest first: by slots of a quarter of an hour, and by entries where a slot is cut.
    pub async fn usage(&self, workspace: i64, from: Time, to: Time) -> Result<Vec<UsageRow>, Error> {
        let now = self.clock().now();
        self.read_ledger(Some(workspace), move |tx| {
            let down = |time: Time| Time(time.0.div_euclid(entry::SLOT) * entry::SLOT);
            let up = |time: Time| down(Time(time.0.saturating_add(entry::SLOT - 1)));
            // Nothing is charged in the future, so a range that ends there takes the whole last slot.
            let to = if to > now { up(to) } else { to };
            let (first, last) = (up(from), down(to).max(up(from)));
            let mut rows = cut_slot(tx, workspace, from, first.min(to))?;
            rows.extend(tx.query(
                "select slot, operation, campaign, member, channel, quantity, credits, not_charged, refunded_credits from usage
                 where workspace = ?1 and slot >= ?2 and slot < ?3 order by slot",
                values![workspace, first, last],
                read_usage,
            )?);
            if to > last {
                rows.extend(cut_slot(tx, workspace, last.max(from), to)?);
            }
            Ok(rows)
        })
        .await
    }

    /// How a campaign stands.
    pub async fn progress(&self, workspace: i64, job: i64) -> Result<Progress, Error> {
        self.read(move |tx| {
            let outcomes = "select step, outcome, count(*) from step_result where workspace = ?1 and job = ?2 group by step, outcome";
            let waiting = "select position, count(*) from work where workspace = ?1 and job = ?2 and due is not null group by position";
            let states = "select state, count(*) from work where workspace = ?1 and job = ?2 group by state";
            let in_doubt = "select position, count(*) from work where workspace = ?1 and job = ?2 and state = 1 group by position";
            let review = "select position, count(*) from work where workspace = ?1 and job = ?2 and state = 6 group by position";
            let at = values![workspace, job];
            Ok(Progress {
                outcomes: tx.query(outcomes, at, |row| Ok((row.int(0)?, row.int(1)?, row.int(2)?)))?,
                waiting: tx.query(waiting, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                states: tx.query(states, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                in_doubt: tx.query(in_doubt, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                review: tx.query(review, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
            })
        })
        .await
    }

    /// The leads of a campaign, in the order in which they were made.
    pub async fn campaign_leads(
        &self,
        workspace: i64,
        job: i64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<CampaignLead>, Error> {
        self.read(move |tx| {
            tx.query(
                "select w.lead, l.name, l.email, w.position, w.state, w.due, w.hold, w.detail from work w
                 join lead l on l.workspace = w.workspace and l.id = w.lead
                 where w.workspace = ?1 and w.job = ?2 and w.lead > ?3 order by w.lead limit ?4",
                values![workspace, job, after, limit],
                |row| {
                    let (lead, name, email) = (row.int(0)?, row.text(1)?, row.opt_text(2)?);
                    let (position, state, due) = (row.int(3)?, row.int(4)?, row.opt_int(5)?);
                    Ok(CampaignLead {
                        lead,
                        name,
                        email,
                        position,
                        state,
                        due,
                        hold: row.opt_int(6)?,
                        detail: row.opt_text(7)?,
                    })
                },
            )
        })
        .await
    }

    /// Workspaces in which something is due in the ledger by `now`: holds that ended, grants that begin or expire.
    pub async fn due_accounts(&self) -> Result<Vec<i64>, Error> {
        let now = self.clock().now();
        let due = move |tx: &Tx<'_>| {
            tx.query(
                "select workspace from hold where status < 3 and ends_at <= ?1
                 union select workspace from \"grant\" where scheduled > 0 and effective_at <= ?1
                 union select workspace from \"grant\"
                   where available > 0 and expires_at is not null and expires_at <= ?1 and scheduled = 0 limit 1000",
                values![now],
                |row| row.int(0),
            )
        };
        // Time that flows finds a moment later what is not in the tables yet; time that is advanced must find it now.
        if self.clock().is_manual() { self.read_ledger(None, due).await } else { self.read(due).await }
    }

    /// The next moment after now at which something is due in any ledger.
    pub async fn next_in_ledger(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        self.read_ledger(None, move |tx| {
            let next = tx.one(
                "select min(at) from (select min(ends_at) as at from hold where status < 3 and ends_at > ?1
                   union all select min(effective_at) from \"grant\" where scheduled > 0 and effective_at > ?1
                   union all select min(expires_at) from \"grant\"
                     where available > 0 and expires_at is not null and expires_at > ?1 and scheduled = 0) as moments",
                values![now],
                |row| row.opt_time(0),
            )?;
            Ok(next.flatten())
        })
        .await
    }

    /// Every workspace's number; for loops over all of them.
    pub async fn workspace_ids(&self) -> Result<Vec<i64>, Error> {
        self.read(|tx| tx.query("select workspace from workspace order by workspace", &[], |row| row.int(0)))
            .await
    }
}

fn read_usage(row: &Row<'_>) -> Result<UsageRow, Error> {
    Ok(UsageRow {
        at: row.time(0)?,
        operation: row.text(1)?,
        campaign: row.text(2)?,
        member: row.text(3)?,
        channel: row.text(4)?,
        quantity: row.int(5)?,
        credits: row.int(6)?,
        not_charged: row.int(7)?,
        refunded_credits: row.int(8)?,
    })
}

/// Usage of a part of a slot, from the entries themselves.
fn cut_slot(tx: &Tx<'_>, workspace: i64, from: Time, to: Time) -> Result<Vec<UsageRow>, Error> {
    if from >= to {
        return Ok(Vec::new());
    }
    tx.query(
        "select e.at, e.operation, coalesce(n.campaign, ''), coalesce(n.member, ''), coalesce(n.channel, ''),
           case e.kind when 7 then e.quantity else 0 end, case e.kind when 7 then -e.amount else 0 end,
           case e.kind when 7 then e.attempted - e.quantity when 8 then e.attempted else 0 end,
           case e.kind when 11 then e.amount else 0 end
         from entry e left join note n on n.workspace = e.workspace and n.seq = e.seq
         where e.workspace = ?1 and e.kind in (7, 8, 11) and e.at >= ?2 and e.at < ?3 order by e.seq",
        values![workspace, from, to],
        read_usage,
    )
}
