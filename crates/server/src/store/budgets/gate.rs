//! The question to the budgets before each hold and each charge, in the transaction that makes it.
//!
//! Owns the sums that are kept in memory with an account: each is read once, and then follows every entry of the account.
//!
//! Invariant: a kept sum is what the tables say, plus the entries that are not in them yet.

use std::collections::HashMap;
use std::sync::Arc;

use billing::account::HoldStatus;
use billing::budget::{self, Budget, Over, Per, Sight};
use billing::ledger::{self, Command};
use billing::{Entry, EntryKind, Labels, Time};

use super::{find, span, spent};
use crate::store::Error;
use crate::store::batch::Batch;
use crate::store::db::Tx;
use crate::store::entry;
use crate::values;

/// How many sums are kept of one workspace.
const MOST_SUMS: usize = 1_024;

/// What was spent, since when.
type Sum = (Time, i64);

/// The budgets of an account that has some.
#[derive(Clone, Debug)]
pub struct Budgets {
    all: Vec<Budget>,
    /// What was spent, by budget and label, since when.
    sums: HashMap<(usize, Option<Arc<str>>), Sum>,
    /// The present day and period: from when to when.
    spans: [Option<(Time, Time)>; 2],
    /// Whether they paused something that waits for room.
    pub paused: bool,
}

impl Budgets {
    /// Loads those of an account.
    pub fn load(tx: &Tx<'_>, workspace: i64) -> Result<Box<Budgets>, Error> {
        let paused = "select 1 from pause where workspace = ?1 and until is not null limit 1";
        let paused = tx.one(paused, values![workspace], |row| row.int(0))?.is_some();
        Ok(Box::new(Budgets { all: find(tx, workspace)?, sums: HashMap::new(), spans: [None; 2], paused }))
    }

    /// Follows an entry of the account.
    pub fn follow(&mut self, entry: &Entry) {
        let Some(usage) = entry::usage_of(entry) else { return };
        for (index, budget) in self.all.iter().enumerate() {
            if let Some(label) = budget.counts(&entry.labels)
                && let Some((from, sum)) = self.sums.get_mut(&(index, label.cloned()))
                && entry.at >= *from
            {
                *sum += usage.credits - usage.refunded_credits;
            }
        }
    }

    /// Forgets when the day and the period began: they may be others.
    pub fn forget_spans(&mut self) {
        self.spans = [None; 2];
    }

    fn from(&mut self, tx: &Tx<'_>, workspace: i64, per: Per, at: Time) -> Result<Time, Error> {
        let known = match per {
            Per::Total => return Ok(Time(0)),
            Per::Day => &mut self.spans[0],
            Per::Period => &mut self.spans[1],
        };
        match known.filter(|(from, to)| *from <= at && at < *to) {
            Some((from, _)) => Ok(from),
            None => {
                let fresh = span(tx, workspace, per, at)?;
                *known = Some(fresh);
                Ok(fresh.0)
            }
        }
    }

    fn sights(
        &mut self,
        batch: &mut Batch<'_>,
        workspace: i64,
        labels: &Labels,
    ) -> Result<Vec<Sight>, Error> {
        // When its entry will be written.
        let last = batch.account(workspace)?.at;
        let at = batch.now.max(Time(last.0 + 1));
        let mut sights = Vec::new();
        for index in 0..self.all.len() {
            let budget = self.all[index].clone();
            let Some(label) = budget.counts(labels).map(Option::<&Arc<str>>::cloned) else { continue };
            let from = self.from(&batch.tx, workspace, budget.per, at)?;
            let spent = match self.sums.get(&(index, label.clone())) {
                Some((since, sum)) if *since == from => *sum,
                _ => {
                    let sum = read_sum(batch, workspace, &budget, label.as_deref(), from)?;
                    if self.sums.len() >= MOST_SUMS {
                        self.sums.clear();
                    }
                    self.sums.insert((index, label.clone()), (from, sum));
                    sum
                }
            };
            sights.push(Sight { budget, label, spent, held: 0, passing: 0 });
        }
        Ok(sights)
    }
}

fn read_sum(
    batch: &mut Batch<'_>,
    workspace: i64,
    budget: &Budget,
    label: Option<&str>,
    from: Time,
) -> Result<i64, Error> {
    if batch.account(workspace)?.at < from {
        return Ok(0);
    }
    batch.write(workspace)?;
    let sums = spent(&batch.tx, workspace, budget.scope, Some(label.unwrap_or("")), from)?;
    Ok(sums.into_values().next().map_or(0, |used| used.spent()))
}

/// The budgets that work with these labels counts in, and how far each is used, what is held not yet counted.
fn spent_of(batch: &mut Batch<'_>, workspace: i64, labels: &Labels) -> Result<Vec<Sight>, Error> {
    let Some(mut budgets) = batch.cached(workspace).budgets.take() else { return Ok(Vec::new()) };
    let sights = budgets.sights(batch, workspace, labels);
    batch.cached(workspace).budgets = Some(budgets);
    sights
}

/// Adds what is held.
fn add_held(batch: &mut Batch<'_>, workspace: i64, sights: &mut [Sight]) {
    for hold in batch.cached(workspace).account.holds.values().filter(|hold| hold.is_open()) {
        // What a campaign, search or job holds ends with its call; nobody knows when a caller ends what is theirs.
        let passes = hold.epoch > 0 && hold.status != HoldStatus::InDoubt;
        let amount = hold.price.amount();
        for sight in &mut *sights {
            if sight.budget.counts(&hold.labels).is_some_and(|label| label == sight.label.as_ref()) {
                sight.held += amount;
                sight.passing += if passes { amount } else { 0 };
            }
        }
    }
}

/// The budgets that work with these labels counts in, and how far each is used.
pub(super) fn sights(batch: &mut Batch<'_>, workspace: i64, labels: &Labels) -> Result<Vec<Sight>, Error> {
    let mut sights = spent_of(batch, workspace, labels)?;
    add_held(batch, workspace, &mut sights);
    Ok(sights)
}

/// Asks the budgets about a command. What is due in the account is done first, because it makes room. Where credits are
/// missing as well, the ledger's own refusal comes first.
pub(in crate::store) fn ask(
    batch: &mut Batch<'_>,
    workspace: i64,
    command: &Command,
    entries: &mut Vec<Entry>,
) -> Result<Option<Over>, Error> {
    let (Command::Hold(terms) | Command::Charge(terms)) = command else { return Ok(None) };
    let mut sights = spent_of(batch, workspace, &terms.labels)?;
    if sights.is_empty() {
        return Ok(None);
    }
    let now = batch.now;
    // Doing what is due is never refused.
    let _ = ledger::post(&mut batch.cached(workspace).account, &Command::Sweep, now, entries);
    let needed = terms.price.amount();
    if needed > batch.cached(workspace).account.available {
        return Ok(None);
    }
    add_held(batch, workspace, &mut sights);
    Ok(budget::refusal(&sights, needed))
}

/// Whether these entries gave room to what the budgets of a workspace paused.
pub(in crate::store) fn freed<'e>(
    budgets: Option<&Budgets>,
    mut entries: impl Iterator<Item = &'e Entry>,
) -> bool {
    let frees = |entry: &Entry| match entry.kind {
        EntryKind::Release | EntryKind::Refund => true,
        EntryKind::Charge => entry.hold != Some(entry.seq),
        _ => false,
    };
    budgets.is_some_and(|budgets| budgets.paused) && entries.any(frees)
}
