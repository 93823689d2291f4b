//! Usage over time: the ledger's charges by day and by what they were for. Every figure is a sum of stored totals.

use std::collections::{BTreeMap, HashMap, HashSet};

use billing::Time;
use billing::units::DAY;

use super::families;
use super::history::Asked;
use super::scene::Scene;
use super::view::chart::{Bucket, draw};
use super::view::{Group, Range, Usage, UsageRow};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::entry::SLOT;
use crate::store::queries::UsageRow as Stored;
use crate::store::summary::Names;
use crate::store::{Error, Store};
use crate::{calendar, id};

/// What work of ours goes through, and its words.
pub const CHANNELS: [(&str, &str); 5] = [
    ("email", "E-mail"),
    ("linkedin", "LinkedIn"),
    ("messages", "Messages"),
    ("enrichment", "Enrichment"),
    ("discovery", "Discovery"),
];
/// More days than this are drawn as weeks.
const MOST_DAYS: usize = 62;

/// A stretch of time, and the one before it.
pub struct Stretch {
    pub from: Time,
    pub to: Time,
    before: Option<(Time, Time)>,
}

/// What was charged in a stretch, with the names behind its labels.
pub struct Charges {
    pub stretch: Stretch,
    pub rows: Vec<Stored>,
    names: Names,
    workspace: i64,
    group: Group,
}

/// One line of the table.
#[derive(Clone, Default)]
pub struct Total {
    pub count: i64,
    pub credits: i64,
    pub not_charged: i64,
    pub refunded: i64,
    prices: HashSet<Option<i64>>,
}

/// The range of a query, 30 days unless it says otherwise.
pub fn range(name: Option<&str>) -> Range {
    Range::ALL.into_iter().find(|range| Some(range.name()) == name).unwrap_or(Range::Month)
}

/// The grouping of a query.
pub fn group(name: Option<&str>) -> Group {
    Group::ALL.into_iter().find(|group| Some(group.name()) == name).unwrap_or(Group::Operation)
}

/// What was charged in a range.
pub async fn charges(store: &Store, scene: &Scene, range: Range, group: Group) -> Result<Charges, Error> {
    let stretch = stretch(store, scene, range).await?;
    let workspace = scene.workspace.id;
    let rows = store.usage(workspace, stretch.from, stretch.to).await?;
    let jobs = match group {
        Group::Campaign => rows.iter().filter_map(|row| job_number(workspace, &row.campaign)).collect(),
        _ => HashSet::new(),
    };
    let names = store.names(workspace, jobs, HashSet::new()).await?;
    Ok(Charges { stretch, rows, names, workspace, group })
}

/// The card of the page.
pub async fn card(app: &App, scene: &Scene, range: Range, group: Group) -> Result<Usage, Error> {
    let charges = charges(&app.store, scene, range, group).await?;
    let previous = match charges.stretch.before {
        Some((from, to)) => Some(app.store.charged(scene.workspace.id, from, to).await?),
        None => None,
    };
    let mut rows = match group {
        Group::Operation => families::rows(app, &charges.totals(&charges.rows)),
        _ => charges.table(app),
    };
    let span = |from: Time, to: Option<Time>| {
        let to = to.map_or_else(String::new, rfc3339);
        Asked { from: rfc3339(from), to, ..Asked::default() }.query()
    };
    let lines = span(charges.stretch.from, None);
    for row in &mut rows {
        row.entries.insert_str(0, &lines);
    }
    Ok(Usage {
        span: lines,
        span_before: charges.stretch.before.map_or_else(String::new, |(from, to)| span(from, Some(to))),
        range,
        group,
        chart: draw(&charges.buckets(app, scene)),
        total: rows.iter().map(|row| row.credits).sum(),
        rows,
        refunded: charges.rows.iter().map(|row| row.refunded_credits).sum(),
        previous,
        not_charged: not_charged(app, &charges.rows),
    })
}

impl Charges {
    /// The lines of the table, the dearest first.
    fn table(&self, app: &App) -> Vec<UsageRow> {
        let used = |(_, total): &(String, Total)| total.count != 0 || total.credits != 0;
        let row = |(key, total): (String, Total)| UsageRow {
            entries: self.entries(&key).query(),
            label: self.label(app, &key),
            note: None,
            count: total.count,
            price: total.price(),
            credits: total.credits,
        };
        let mut rows: Vec<UsageRow> = self.totals(&self.rows).into_iter().filter(used).map(row).collect();
        rows.sort_by(|a, b| b.credits.cmp(&a.credits).then_with(|| a.label.cmp(&b.label)));
        rows
    }

    /// The totals of these rows by what they were for.
    pub fn totals<'a>(&self, rows: impl IntoIterator<Item = &'a Stored>) -> BTreeMap<String, Total> {
        let mut totals: BTreeMap<String, Total> = BTreeMap::new();
        for row in rows {
            let total = totals.entry(self.key(row).to_owned()).or_default();
            total.count += row.quantity;
            total.credits += row.credits;
            total.not_charged += row.not_charged;
            total.refunded += row.refunded_credits;
            if row.quantity > 0 {
                let whole = row.credits % row.quantity == 0;
                total.prices.insert(whole.then(|| row.credits / row.quantity));
            }
        }
        totals
    }

    /// The days of the stretch, each with its rows; weeks when there are many.
    pub fn days(&self, scene: &Scene) -> Vec<(Time, &[Stored])> {
        let by = |interval: &str, stride: i64| {
            let start = |time: Time| calendar::bucket_start(time, scene.zone(), interval);
            let mut starts = vec![start(self.stretch.from)];
            // Half a day beyond the next start, so that a day of 23 or 25 hours leads there as well.
            while let Some(next) = starts.last().map(|last| start(Time(last.0 + stride * DAY + DAY / 2)))
                && next.0 < self.stretch.to.0.min(scene.now.0 + 1)
            {
                starts.push(next);
            }
            starts
        };
        let days = by("day", 1);
        let starts = if days.len() > MOST_DAYS { by("week", 7) } else { days };
        let mut rest = &self.rows[..];
        let mut filled = Vec::with_capacity(starts.len());
        for (index, day) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(Time(i64::MAX), |next| *next);
            let (now, later) = rest.split_at(rest.partition_point(|row| row.at < end));
            filled.push((*day, now));
            rest = later;
        }
        filled
    }

    /// The lines of the ledger that are counted under a key.
    fn entries(&self, key: &str) -> Asked {
        let (name, value) = (self.group.name(), key.to_owned());
        if key.is_empty() {
            return Asked { without: name.to_owned(), ..Asked::default() };
        }
        match self.group {
            Group::Operation => Asked { operation: value, ..Asked::default() },
            Group::Campaign => Asked { campaign: value, ..Asked::default() },
            Group::Member => Asked { member: value, ..Asked::default() },
            Group::Channel => Asked { channel: value, ..Asked::default() },
        }
    }

    /// The words for a key.
    pub fn label(&self, app: &App, key: &str) -> String {
        let named = |none: &str| if key.is_empty() { none.to_owned() } else { key.to_owned() };
        match self.group {
            Group::Operation => operation(app, key),
            Group::Campaign => {
                let known = job_number(self.workspace, key).and_then(|job| self.names.jobs.get(&job));
                known.cloned().unwrap_or_else(|| named("No campaign"))
            }
            Group::Member => named("No person"),
            Group::Channel => {
                let known = CHANNELS.iter().find(|(channel, _)| *channel == key);
                known.map_or_else(|| named("No channel"), |(_, words)| (*words).to_owned())
            }
        }
    }

    /// The words for a key in the chart: operations of one kind are one colour.
    fn series(&self, app: &App, key: &str) -> String {
        match families::of(key).filter(|_| self.group == Group::Operation) {
            Some(family) => family.series.to_owned(),
            None => self.label(app, key),
        }
    }

    fn key<'a>(&self, row: &'a Stored) -> &'a str {
        match self.group {
            Group::Operation => &row.operation,
            Group::Campaign => &row.campaign,
            Group::Member => &row.member,
            Group::Channel => &row.channel,
        }
    }

    fn buckets(&self, app: &App, scene: &Scene) -> Vec<Bucket> {
        let mut labels: HashMap<&str, String> = HashMap::new();
        for row in &self.rows {
            labels.entry(self.key(row)).or_insert_with(|| self.series(app, self.key(row)));
        }
        let bucket = |(day, rows): (Time, &[Stored])| Bucket {
            label: calendar::day(day, scene.zone()),
            credits: rows.iter().map(|row| (labels[self.key(row)].clone(), row.credits)).collect(),
        };
        self.days(scene).into_iter().map(bucket).collect()
    }
}

impl Total {
    /// Takes another line in.
    pub fn add(&mut self, other: &Total) {
        self.count += other.count;
        self.credits += other.credits;
        self.not_charged += other.not_charged;
        self.refunded += other.refunded;
        self.prices.extend(&other.prices);
    }

    /// The price of one, where all were priced the same.
    pub fn price(&self) -> Option<i64> {
        let mut prices = self.prices.iter();
        let first = prices.next().copied().flatten();
        first.filter(|_| prices.next().is_none())
    }
}

/// An operation's name on the screen; an old one that the catalog no longer has keeps its own.
pub fn operation(app: &App, name: &str) -> String {
    app.catalog().operation(name).map_or_else(|| name.to_owned(), |operation| operation.label.clone())
}

/// The number of the job that a caller's campaign label names, if it is one of ours.
pub fn job_number(workspace: i64, label: &str) -> Option<i64> {
    let parsed = id::parse_inside("camp", label).or_else(|| id::parse_inside("job", label));
    parsed.filter(|(of, _)| *of == workspace).map(|(_, number)| number)
}

/// What was tried for nothing, in words.
fn not_charged(app: &App, rows: &[Stored]) -> Vec<(i64, String)> {
    let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.not_charged > 0) {
        let both = |one: &str, many: &str| (one.to_owned(), many.to_owned());
        let words = match row.operation.as_str() {
            "contact_enrichment" | "field_enrichment" => {
                both("look-up with no result", "look-ups with no result")
            }
            "email_send" | "linkedin_send" => {
                both("send that failed or stayed unconfirmed", "sends that failed or stayed unconfirmed")
            }
            "discovery_result" | "clue_result" => both("duplicate", "duplicates"),
            "discovery_preview" => both("failed preview", "failed previews"),
            "message_generation" | "message_regeneration" => {
                both("message that was not stored", "messages that were not stored")
            }
            other => {
                let of = format!("of {}", operation(app, other));
                both(&of, &of)
            }
        };
        *counts.entry(words).or_default() += row.not_charged;
    }
    let words = |((one, many), count): ((String, String), i64)| (count, if count == 1 { one } else { many });
    let mut counts: Vec<(i64, String)> = counts.into_iter().map(words).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    counts
}

async fn stretch(store: &Store, scene: &Scene, range: Range) -> Result<Stretch, Error> {
    // An entry may be written a moment after the clock's time: one more slot is never one too many.
    let to = Time(scene.now.0 + SLOT);
    let day = |time: Time| calendar::bucket_start(time, scene.zone(), "day");
    let back = |start: Time, days: i64| day(Time(start.0 - days * DAY + DAY / 2));
    let days = match range {
        Range::Week => 7,
        Range::Month => 30,
        Range::Period => return period(store, scene, to).await,
    };
    let (from, born) = (back(day(scene.now), days - 1), day(scene.workspace.created_at));
    // Before it was made there was nothing to use and nothing to compare with.
    let before = (from > born).then(|| (back(from, days), from));
    Ok(Stretch { from: from.max(born), to, before })
}

/// The plan's period; without a plan, the calendar month. Totals are kept in slots, so a period begins with its slot.
async fn period(store: &Store, scene: &Scene, to: Time) -> Result<Stretch, Error> {
    let slot = |time: Time| Time(time.0.div_euclid(SLOT) * SLOT);
    let month = |time: Time| calendar::bucket_start(time, scene.zone(), "month");
    let periods = store.periods(scene.workspace.id).await?;
    let (from, before) = match periods[..] {
        [(now, _), (last, _)] => (slot(now), Some((slot(last), slot(now)))),
        [(now, _)] => (slot(now), None),
        _ => {
            let from = month(scene.now);
            let before = (from > scene.workspace.created_at).then(|| (month(Time(from.0 - 1)), from));
            (from, before)
        }
    };
    Ok(Stretch { from, to, before })
}
