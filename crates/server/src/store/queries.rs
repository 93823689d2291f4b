//! What the dashboard and the API read: balance, entries, holds, usage, and the state of campaigns. Reads only.

mod holds;
mod leads;
mod progress;

use std::collections::BTreeMap;

use billing::account::{Grant, Hold};
use billing::{Entry, EntryKind, Seq, Time};

use super::codec;
use super::db::{Row, Tx};
use super::entry::{self, Recorded, Usage};
use super::ledger;
use super::page::{self, Page, Walk};
use super::subscriptions::{Standing, Terms};
use super::work::STEPS;
use super::{Error, Store};
use crate::values;

pub use leads::{CampaignLead, Course, PastStep};
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
    /// The plan that is agreed anew then, on the terms of that day's price list.
    pub renewal_plan: Option<String>,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Stored kinds; empty means all that change what a person sees.
    pub kinds: Vec<i64>,
    /// Charges and refunds of these; empty means all entries.
    pub operations: Vec<String>,
    /// The labels that were attached; an empty text means none was.
    pub campaign: Option<String>,
    pub member: Option<String>,
    pub channel: Option<String>,
    pub lead: Option<String>,
    pub from: Option<Time>,
    pub to: Option<Time>,
    /// Entries before this one (newest first) or after it (oldest first).
    pub cursor: Option<i64>,
    pub ascending: bool,
}

impl EntryFilter {
    /// The names of which the pages with such entries list at least one; empty when nothing is known.
    fn listed_under(&self) -> Vec<String> {
        if !self.operations.is_empty() {
            return self.operations.clone();
        }
        let of_operations = [EntryKind::Charge, EntryKind::Refund].map(codec::kind_code);
        let others = !self.kinds.is_empty() && !self.kinds.iter().any(|kind| of_operations.contains(kind));
        if others { vec![entry::OTHERS.to_owned()] } else { Vec::new() }
    }

    /// Whether a page may have such entries, as far as that is seen without reading them.
    fn may_be_in(&self, page: &Page) -> bool {
        let labels = [&self.campaign, &self.member, &self.channel, &self.lead];
        labels.into_iter().flatten().all(|label| page.may_name(label))
    }

    fn fits(&self, Recorded { entry, .. }: &Recorded) -> bool {
        let kind = codec::kind_code(entry.kind);
        let kinds: &[i64] = if self.kinds.is_empty() { &LISTED } else { &self.kinds };
        let labels = &entry.labels;
        let same = |asked: &Option<String>, label: &Option<std::sync::Arc<str>>| {
            asked.as_deref().is_none_or(|asked| asked == label.as_deref().unwrap_or(""))
        };
        let is_after = |cursor: i64| if self.ascending { entry.seq.0 > cursor } else { entry.seq.0 < cursor };
        kinds.contains(&kind)
            && self.cursor.is_none_or(is_after)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && (self.operations.is_empty()
                || entry::listed_operation(entry)
                    .is_some_and(|it| self.operations.iter().any(|asked| **asked == **it)))
            && same(&self.campaign, &labels.campaign)
            && same(&self.member, &labels.member)
            && same(&self.channel, &labels.channel)
            && same(&self.lead, &labels.lead)
    }
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

/// The kinds of entries that change the balance or explain it: the ones the API lists.
pub const LISTED: [i64; 7] = [1, 2, 7, 9, 10, 11, 12];

type Renewal = (Option<Time>, Option<i64>, Option<String>);

/// When credits come next, how many, and of which plan where it is agreed anew. Not while they wait for a payment, nor after the
/// last ones of a plan that ends; how many another plan brings is not known here.
fn renewal(row: &Row<'_>) -> Result<Renewal, Error> {
    let (Some(at), credits) = (row.opt_time(7)?, row.opt_int(8)?) else { return Ok((None, None, None)) };
    let terms = row.opt_text(11)?.and_then(|terms| serde_json::from_str::<Terms>(&terms).ok());
    let each = terms.map_or(1, |terms| terms.months / terms.grant_months);
    let is_paid_then = row.opt_int(12)?.unwrap_or(0) % each == 0;
    if is_paid_then && row.opt_int(9)? == Some(Standing::Canceling as i64) {
        return Ok((None, None, None));
    }
    let other = row.opt_text(10)?.filter(|_| is_paid_then);
    let credits = credits.filter(|_| other.is_none());
    let plan = if is_paid_then { other.or(row.opt_text(13)?) } else { None };
    Ok((Some(at), credits, plan))
}

impl Store {
    /// The balance of a workspace.
    pub async fn balance(&self, workspace: i64) -> Result<Balance, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let row = tx.one(
                "select a.available, a.held, a.debt, a.level, a.needed, a.out_since, a.restored_at, case when w.awaited is null then w.next_period end, w.plan_credits,
                   w.subscription, w.next_plan, w.terms, (select max(p.number) + 1 from period p where p.workspace = w.workspace) - w.first_period, w.plan
                 from account a join workspace w on w.workspace = a.workspace where a.workspace = ?1",
                values![workspace],
                |row| {
                    let (renews_at, credits, renewal_plan) = renewal(row)?;
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
                        renewal_plan,
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

    /// One entry.
    pub async fn entry(&self, workspace: i64, seq: Seq) -> Result<Recorded, Error> {
        self.read_ledger(Some(workspace), move |tx| page::entry(tx, workspace, seq)?.ok_or(Error::NotFound))
            .await
    }

    /// Entries, in pages.
    pub async fn entries(
        &self,
        workspace: i64,
        filter: EntryFilter,
        limit: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let limit = usize::try_from(limit).unwrap_or(0);
        self.read_ledger(Some(workspace), move |tx| {
            let ascending = filter.ascending;
            let cursor = filter.cursor.unwrap_or(if ascending { 0 } else { i64::MAX });
            let span = (filter.from, filter.to);
            let operations = filter.listed_under();
            let mut found = Vec::new();
            Walk { workspace, cursor, ascending, span, operations }.pages(tx, |page| {
                if !filter.may_be_in(page) {
                    return Ok(true);
                }
                let mut fitting = Vec::new();
                for recorded in page.run().entries() {
                    fitting.extend(Some(recorded?).filter(|recorded| filter.fits(recorded)));
                }
                if !ascending {
                    fitting.reverse();
                }
                found.append(&mut fitting);
                Ok(found.len() < limit)
            })?;
            found.truncate(limit);
            Ok(found)
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

    /// Of each operation since then: how often it was charged, and how often it was tried without a charge.
    pub async fn success(&self, workspace: i64, since: Time) -> Result<BTreeMap<String, (i64, i64)>, Error> {
        let sums =
            "select operation, cast(sum(quantity) as bigint), cast(sum(not_charged) as bigint) from usage
            where workspace = ?1 and slot >= ?2 group by operation";
        self.read_ledger(Some(workspace), move |tx| {
            let sum = |row: &Row<'_>| Ok((row.text(0)?, (row.int(1)?, row.int(2)?)));
            Ok(tx.query(sums, values![workspace, since], sum)?.into_iter().collect())
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
            let written = format!(
                "select m.step, count(*) from message m
                 join work w on w.workspace = m.workspace and w.job = m.job and w.lead = m.lead
                 where m.workspace = ?1 and m.job = ?2 and w.due is not null and w.position - {STEPS} <= m.step group by m.step"
            );
            let at = values![workspace, job];
            Ok(Progress {
                outcomes: tx.query(outcomes, at, |row| Ok((row.int(0)?, row.int(1)?, row.int(2)?)))?,
                waiting: tx.query(waiting, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                states: tx.query(states, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                in_doubt: tx.query(in_doubt, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                review: tx.query(review, at, |row| Ok((row.int(0)?, row.int(1)?)))?,
                written: tx.query(&written, at, |row| Ok((STEPS + row.int(0)?, row.int(1)?)))?,
            })
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
pub(super) fn cut_slot(tx: &Tx<'_>, workspace: i64, from: Time, to: Time) -> Result<Vec<UsageRow>, Error> {
    if from >= to {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    Walk::span(workspace, from, to).pages(tx, |page| {
        for recorded in page.run().entries() {
            let entry = recorded?.entry;
            if from <= entry.at && entry.at < to {
                rows.extend(entry::usage_of(&entry).map(|usage| UsageRow::of(&entry, &usage)));
            }
        }
        Ok(true)
    })?;
    Ok(rows)
}

impl UsageRow {
    fn of(entry: &Entry, usage: &Usage) -> UsageRow {
        let text = |label: &Option<std::sync::Arc<str>>| label.as_deref().unwrap_or("").to_owned();
        let labels = &entry.labels;
        UsageRow {
            at: entry.at,
            operation: entry.price.as_ref().map(|price| price.operation.to_string()).unwrap_or_default(),
            campaign: text(&labels.campaign),
            member: text(&labels.member),
            channel: text(&labels.channel),
            quantity: usage.quantity,
            credits: usage.credits,
            not_charged: usage.not_charged,
            refunded_credits: usage.refunded_credits,
        }
    }
}
