//! The ledger as people read it: one line per entry, with what it was for and the balance after it.

use std::collections::HashSet;

use billing::{Entry, EntryKind, GrantKind, Time};
use serde::Deserialize;

use super::scene::Scene;
use super::view::format::{Figure, QueryValue};
use super::view::{Choice, History, HistoryFilter, HistoryRow, HistoryShow};
use super::{families, usage};
use crate::app::App;
use crate::calendar;
use crate::clock::parse_rfc3339;
use crate::id;
use crate::store::Error;
use crate::store::codec::kind_code;
use crate::store::entry::Recorded;
use crate::store::jobs::JobKind;
use crate::store::queries::EntryFilter;
use crate::store::summary::Names;

/// Lines of history on one page.
const LINES: i64 = 25;
/// How many campaigns the form offers by name.
const CAMPAIGNS: i64 = 50;
/// More operations than one row of usage is made of.
const MOST_OPERATIONS: usize = 16;

/// Which lines are asked for, as links and the form write it. What is empty or absent asks for nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    pub show: String,
    /// One, or several with commas between them.
    pub operation: String,
    pub campaign: String,
    pub member: String,
    pub channel: String,
    pub lead: String,
    /// `campaign`, `member` or `channel`: lines that have none.
    pub without: String,
    /// A day of the workspace, or a moment as in RFC 3339; included.
    pub from: String,
    /// A day of the workspace, included, or a moment, not included.
    pub to: String,
    /// The number of a line: older ones.
    pub before: String,
}

/// A page of entries with the names in them.
pub struct Lines {
    workspace: i64,
    pub entries: Vec<Recorded>,
    names: Names,
}

impl Asked {
    /// The lines that are asked for.
    pub fn show(&self) -> HistoryShow {
        HistoryShow::ALL.into_iter().find(|show| show.name() == self.show).unwrap_or(HistoryShow::All)
    }

    /// The same, as the store understands it.
    ///
    /// # Errors
    /// The name of the field that is no day.
    pub fn filter(&self, zone: &str) -> Result<EntryFilter, &'static str> {
        let label = |name: &str, asked: &str| {
            let asks = !asked.is_empty() || self.without == name;
            asks.then(|| if self.without == name { String::new() } else { asked.to_owned() })
        };
        let operations = self.operation.split(',').filter(|name| !name.is_empty()).take(MOST_OPERATIONS);
        Ok(EntryFilter {
            kinds: kinds(self.show()),
            operations: operations.map(str::to_owned).collect(),
            campaign: label("campaign", &self.campaign),
            member: label("member", &self.member),
            channel: label("channel", &self.channel),
            lead: label("lead", &self.lead),
            from: moment(&self.from, zone, false).map_err(|()| "from")?,
            to: moment(&self.to, zone, true).map_err(|()| "to")?,
            cursor: self.before.parse().ok(),
            ascending: false,
        })
    }

    /// As a query that asks for the same lines, without the kind and the page.
    pub fn query(&self) -> String {
        let fields = [
            ("operation", &self.operation),
            ("campaign", &self.campaign),
            ("member", &self.member),
            ("channel", &self.channel),
            ("lead", &self.lead),
            ("without", &self.without),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let mut query = String::new();
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.extend(["&", name, "=", &value.query_value()]);
        }
        query
    }

    fn is_all(&self) -> bool {
        self.query().is_empty()
    }
}

/// A day or a moment. Of a last day the end is meant.
fn moment(text: &str, zone: &str, last: bool) -> Result<Option<Time>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = parse_rfc3339(text)
        .or_else(|| calendar::day_bounds(text, zone).map(|day| if last { day.1 } else { day.0 }));
    moment.map(Some).ok_or(())
}

/// The section of the page.
pub async fn section(app: &App, scene: &Scene, asked: &Asked) -> Result<History, Error> {
    let (workspace, zone) = (scene.workspace.id, scene.zone());
    let filter = asked.filter(zone);
    let (mut rows, mut next, mut sum) = (Vec::new(), None, None);
    if let Ok(filter) = &filter {
        let mut lines = lines(app, workspace, filter.clone(), LINES + 1).await?;
        let more = lines.entries.len() > LINES as usize;
        lines.entries.truncate(LINES as usize);
        next = lines.entries.last().filter(|_| more).map(|last| last.entry.seq.to_string());
        rows = lines.rows(app, scene);
        sum = total(app, scene, asked, filter).await?;
    }
    let day = |text: &str, last: bool| match moment(text, zone, last) {
        Ok(Some(at)) => calendar::local(Time(at.0 - i64::from(last)), zone).date().to_string(),
        _ => text.to_owned(),
    };
    let wrong = filter.err();
    let (from, to) = (day(&asked.from, false), day(&asked.to, true));
    let (jobs, members) = (
        app.store.jobs(workspace, JobKind::Campaign, None, CAMPAIGNS).await?,
        app.store.members(workspace).await?,
    );
    let campaigns = jobs.into_iter().map(|job| (id::inside("camp", workspace, job.id), job.name)).collect();
    let lead = match lead_number(workspace, &asked.lead) {
        Some(number) => {
            let names = app.store.names(workspace, HashSet::new(), HashSet::from([number])).await?;
            names.leads.get(&number).map(|(name, _)| name.clone())
        }
        None => None,
    };
    let words = |choices: Vec<(&str, &str)>| {
        choices.into_iter().map(|(key, words)| (key.to_owned(), words.to_owned())).collect()
    };
    let operations = app.catalog().operations.iter().filter(|operation| operation.price > 0);
    let operations = operations.map(|operation| (operation.operation.as_str(), operation.label.as_str()));
    let people = members.into_iter().map(|member| (member.email.clone(), member.email)).collect();
    Ok(History {
        filter: HistoryFilter {
            show: asked.show(),
            operations: choices(words(operations.collect()), &asked.operation, |of| families::name(app, of)),
            campaigns: choices(campaigns, &asked.campaign, str::to_owned),
            people: choices(people, &asked.member, str::to_owned),
            channels: choices(words(usage::CHANNELS.to_vec()), &asked.channel, str::to_owned),
            lead: Some(asked.lead.clone())
                .filter(|label| !label.is_empty())
                .map(|label| (label.clone(), lead.unwrap_or(label))),
            without: asked.without.clone(),
            from,
            to,
            wrong,
            is_all: asked.is_all(),
            query: asked.query(),
        },
        rows,
        next,
        sum,
    })
}

/// Choices of a form, with the one that was made among them.
fn choices(known: Vec<(String, String)>, chosen: &str, words: impl Fn(&str) -> String) -> Vec<Choice> {
    let is_new = !chosen.is_empty() && known.iter().all(|(key, _)| key != chosen);
    let more = is_new.then(|| (chosen.to_owned(), words(chosen)));
    let choice = |(key, words): (String, String)| Choice { chosen: key == chosen, key, words };
    known.into_iter().chain(more).map(choice).collect()
}

/// How many units were charged in all lines of this filter, and for how many credits: from the same totals as usage. `None` where
/// there are no such totals.
async fn total(
    app: &App,
    scene: &Scene,
    asked: &Asked,
    filter: &EntryFilter,
) -> Result<Option<(i64, i64)>, Error> {
    if asked.show() != HistoryShow::Used || !asked.lead.is_empty() {
        return Ok(None);
    }
    let from = filter.from.unwrap_or(scene.workspace.created_at);
    let rows = app.store.usage(scene.workspace.id, from, filter.to.unwrap_or(Time(i64::MAX))).await?;
    let fits = |asked: &Option<String>, label: &str| asked.as_deref().is_none_or(|asked| asked == label);
    let rows = rows.iter().filter(|row| {
        (filter.operations.is_empty() || filter.operations.contains(&row.operation))
            && fits(&filter.campaign, &row.campaign)
            && fits(&filter.member, &row.member)
            && fits(&filter.channel, &row.channel)
    });
    Ok(Some(rows.fold((0, 0), |sum, row| (sum.0 + row.quantity, sum.1 + row.credits))))
}

/// Entries, newest first, with the names in them.
pub async fn lines(app: &App, workspace: i64, filter: EntryFilter, limit: i64) -> Result<Lines, Error> {
    Lines::of(app, workspace, app.store.entries(workspace, filter, limit).await?).await
}

fn kinds(show: HistoryShow) -> Vec<i64> {
    use EntryKind::{Adjust, Charge, Expire, Grant, Refund, Repay, Revoke};
    let kinds: &[EntryKind] = match show {
        HistoryShow::All => &[],
        HistoryShow::Used => &[Charge],
        HistoryShow::Added => &[Grant],
        HistoryShow::Refunded => &[Refund],
        HistoryShow::Adjusted => &[Adjust, Expire, Revoke, Repay],
    };
    kinds.iter().copied().map(kind_code).collect()
}

/// The number of the lead that a label names, if it is one of ours.
pub fn lead_number(workspace: i64, label: &str) -> Option<i64> {
    id::parse_inside("lead", label).filter(|(of, _)| *of == workspace).map(|(_, number)| number)
}

impl Lines {
    /// Entries with the names in them.
    pub async fn of(app: &App, workspace: i64, entries: Vec<Recorded>) -> Result<Lines, Error> {
        let labels =
            |pick: fn(&Entry) -> Option<&str>| entries.iter().filter_map(move |row| pick(&row.entry));
        // Searches and enrichment jobs are no campaigns: their id is the reference.
        let jobs = labels(|entry| entry.labels.campaign.as_deref().or(entry.labels.reference.as_deref()));
        let jobs = jobs.filter_map(|label| usage::job_number(workspace, label)).collect::<HashSet<_>>();
        let leads = labels(|entry| entry.labels.lead.as_deref());
        let leads = leads.filter_map(|label| lead_number(workspace, label)).collect::<HashSet<_>>();
        let names = app.store.names(workspace, jobs, leads).await?;
        Ok(Lines { workspace, entries, names })
    }

    /// The lines of the table.
    pub fn rows(&self, app: &App, scene: &Scene) -> Vec<HistoryRow> {
        let row = |recorded: &Recorded| HistoryRow {
            number: recorded.entry.seq.0,
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
            parts.push(format!("{} × {}", price.quantity.n(), price.unit_price.n()));
        }
        match entry.debt {
            0 => {}
            owed if owed > 0 => parts.push(format!("{} now owed", owed.credits())),
            repaid => parts.push((-repaid).credits()),
        }
        if let Some(label) = labels.lead.as_deref() {
            parts.push(self.lead(label));
        }
        parts.extend(labels.campaign.as_deref().map(|label| self.job(label)));
        parts.extend(labels.member.as_deref().map(str::to_owned));
        parts.extend(
            labels.reference.as_deref().filter(|_| labels.campaign.is_none()).map(|label| self.job(label)),
        );
        // Who found what was charged is told on the line's own page.
        let note = recorded.note.as_ref().filter(|_| entry.kind != EntryKind::Charge);
        let reason = note.and_then(|note| note.reason.as_deref());
        parts.extend(reason.map(str::to_owned));
        parts.retain(|part| !part.is_empty());
        parts.join(" · ")
    }

    /// Whether a label names a lead of this workspace.
    pub fn is_lead(&self, label: &str) -> bool {
        lead_number(self.workspace, label).is_some_and(|lead| self.names.leads.contains_key(&lead))
    }

    /// Whether a label names a campaign, a search or an enrichment of this workspace.
    pub fn is_job(&self, label: &str) -> bool {
        usage::job_number(self.workspace, label).is_some_and(|job| self.names.jobs.contains_key(&job))
    }

    /// The name of a lead.
    pub fn lead(&self, label: &str) -> String {
        let known = lead_number(self.workspace, label).and_then(|lead| self.names.leads.get(&lead));
        known.map_or(label, |(name, _)| name.as_str()).to_owned()
    }

    /// The name of a campaign, a search or an enrichment.
    pub fn job(&self, label: &str) -> String {
        let known = usage::job_number(self.workspace, label).and_then(|job| self.names.jobs.get(&job));
        known.map_or(label, String::as_str).to_owned()
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
            entry.terms.as_ref().map_or("Credits added", |terms| kind_words(terms.kind)).to_owned()
        }
        EntryKind::Adjust => "Adjustment".to_owned(),
        EntryKind::Expire => "Credits expired".to_owned(),
        EntryKind::Revoke => "Credits taken back".to_owned(),
        EntryKind::Repay => "Debt repaid".to_owned(),
        EntryKind::Schedule => "Credits to come".to_owned(),
        EntryKind::Hold => format!("Reserved: {}", operation()),
        EntryKind::Dispatch => format!("Under way: {}", operation()),
        EntryKind::Extend => format!("Reserved for longer: {}", operation()),
        EntryKind::Doubt => format!("Unconfirmed: {}", operation()),
        EntryKind::Release => format!("Not charged: {}", operation()),
    }
}

/// A kind of grant, in the words of the screen.
pub fn kind_words(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Promo => "Promotion",
        GrantKind::Goodwill => "Goodwill credits",
        GrantKind::Trial => "Trial credits",
        GrantKind::Bonus => "Bonus credits",
        GrantKind::Plan => "Plan credits",
        GrantKind::Purchased => "Credits bought",
    }
}
