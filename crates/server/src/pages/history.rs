//! The ledger as people read it: one line per entry, with what it was for and the balance after it.

use std::collections::HashSet;

use billing::{Entry, EntryKind, GrantKind};

use super::scene::Scene;
use super::usage;
use super::view::{HistoryRow, HistoryShow};
use crate::app::App;
use crate::id;
use crate::store::Error;
use crate::store::codec::kind_code;
use crate::store::entry::Recorded;
use crate::store::queries::EntryFilter;
use crate::store::summary::Names;

/// A page of entries with the names in them.
pub struct Lines {
    workspace: i64,
    pub entries: Vec<Recorded>,
    names: Names,
}

/// The lines of a query, all unless it says otherwise.
pub fn show(name: Option<&str>) -> HistoryShow {
    HistoryShow::ALL.into_iter().find(|show| Some(show.name()) == name).unwrap_or(HistoryShow::All)
}

/// Entries of some kinds before a number, newest first.
pub async fn lines(
    app: &App,
    workspace: i64,
    show: HistoryShow,
    before: Option<i64>,
    limit: i64,
) -> Result<Lines, Error> {
    let filter = EntryFilter { kinds: kinds(show), cursor: before, ..EntryFilter::default() };
    let entries = app.store.entries(workspace, filter, limit).await?;
    let labels = |pick: fn(&Entry) -> Option<&str>| entries.iter().filter_map(move |row| pick(&row.entry));
    // Searches and enrichment jobs are no campaigns: their id is the reference.
    let jobs = labels(|entry| entry.labels.campaign.as_deref().or(entry.labels.reference.as_deref()));
    let jobs = jobs.filter_map(|label| usage::job_number(workspace, label)).collect::<HashSet<_>>();
    let leads = labels(|entry| entry.labels.lead.as_deref());
    let leads = leads.filter_map(|label| lead_number(workspace, label)).collect::<HashSet<_>>();
    let names = app.store.names(workspace, jobs, leads).await?;
    Ok(Lines { workspace, entries, names })
}

fn kinds(show: HistoryShow) -> Vec<i64> {
    use EntryKind::{Adjust, Charge, Expire, Grant, Refund, Repay, Revoke};
    let kinds: &[EntryKind] = match show {
        HistoryShow::All => &[],
        HistoryShow::Used => &[Charge, Refund],
        HistoryShow::Added => &[Grant],
        HistoryShow::Adjusted => &[Adjust, Expire, Revoke, Repay],
    };
    kinds.iter().copied().map(kind_code).collect()
}

fn lead_number(workspace: i64, label: &str) -> Option<i64> {
    id::parse_inside("lead", label).filter(|(of, _)| *of == workspace).map(|(_, number)| number)
}

impl Lines {
    /// The lines of the table.
    pub fn rows(&self, app: &App, scene: &Scene) -> Vec<HistoryRow> {
        let row = |recorded: &Recorded| HistoryRow {
            at: scene.moment(recorded.entry.at),
            what: what(app, recorded),
            detail: self.detail(recorded),
            change: recorded.entry.amount,
            balance_after: recorded.entry.balance,
        };
        self.entries.iter().map(row).collect()
    }

    /// Whom and what it was for, and why.
    pub fn detail(&self, recorded: &Recorded) -> String {
        let (entry, labels) = (&recorded.entry, &recorded.entry.labels);
        let mut parts = Vec::new();
        if let Some(price) = entry.price.as_ref().filter(|price| price.quantity > 1) {
            parts.push(format!("{} × {}", price.quantity, price.unit_price));
        }
        if let Some(label) = labels.lead.as_deref() {
            let known = lead_number(self.workspace, label).and_then(|lead| self.names.leads.get(&lead));
            parts.push(known.map_or(label, |(name, _)| name.as_str()).to_owned());
        }
        let job = |label: &str| {
            let known = usage::job_number(self.workspace, label).and_then(|job| self.names.jobs.get(&job));
            known.map_or(label, String::as_str).to_owned()
        };
        parts.extend(labels.campaign.as_deref().map(job));
        parts.extend(labels.member.as_deref().map(str::to_owned));
        parts.extend(labels.reference.as_deref().filter(|_| labels.campaign.is_none()).map(job));
        let reason = recorded.note.as_ref().and_then(|note| note.reason.as_deref());
        parts.extend(reason.map(str::to_owned));
        parts.retain(|part| !part.is_empty());
        parts.join(" · ")
    }
}

/// What an entry is, in the words of the screen.
pub fn what(app: &App, recorded: &Recorded) -> String {
    let entry = &recorded.entry;
    let operation =
        || entry.price.as_ref().map_or_else(String::new, |price| usage::operation(app, &price.operation));
    match entry.kind {
        EntryKind::Charge => operation(),
        EntryKind::Refund => format!("Refund: {}", operation()),
        EntryKind::Grant if &*recorded.actor == "renewal" => {
            "Renewal credits (added automatically)".to_owned()
        }
        EntryKind::Grant => {
            let kind = entry.terms.as_ref().map(|terms| terms.kind);
            kind.map_or("Credits added", |kind| match kind {
                GrantKind::Promo => "Promotion",
                GrantKind::Goodwill => "Goodwill credits",
                GrantKind::Trial => "Trial credits",
                GrantKind::Bonus => "Bonus credits",
                GrantKind::Plan => "Plan credits",
                GrantKind::Purchased => "Credits bought",
            })
            .to_owned()
        }
        EntryKind::Adjust => "Adjustment".to_owned(),
        EntryKind::Expire => "Credits expired".to_owned(),
        EntryKind::Revoke => "Credits taken back".to_owned(),
        EntryKind::Repay => "Debt repaid".to_owned(),
        other => format!("{other:?}"),
    }
}
