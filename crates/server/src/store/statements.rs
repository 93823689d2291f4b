//! Statements: one for each period of a plan, and one for each calendar month in which no plan runs. Reads only.
//!
//! A statement is a span of time with a number, and what the ledger has in it. Spans are a function of what never changes: when
//! the workspace was made, its periods, and the zones it was in. So they tile from the beginning on, without a gap in time
//! or in numbers, and one that has ended stays as it is.
//!
//! Invariant: a statement's lines sum to the change of the balance.

use std::collections::BTreeMap;

use billing::{Seq, Time};

use super::db::Tx;
use super::page::{self, Walk};
use super::payments::{Payment, find as find_payment};
use super::workspaces::{Workspace, find as find_workspace};
use super::{Error, Store, codec};
use crate::{calendar, values};

/// A statement's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// From 1, without a gap.
    pub number: i64,
    pub starts_at: Time,
    pub ends_at: Time,
    /// Whether it still runs, so that its end may change.
    pub is_open: bool,
}

/// One line of a statement: entries of one kind, and of one operation where they have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The code of [`super::codec::kind_code`].
    pub kind: i64,
    pub operation: Option<String>,
    pub entries: i64,
    /// Credits, signed.
    pub credits: i64,
}

/// What happened in a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    pub span: Span,
    /// The entries in it: after the first of these, up to the second.
    pub entries: (i64, i64),
    pub opening: i64,
    pub lines: Vec<Line>,
    pub closing: i64,
    pub payments: Vec<Payment>,
}

impl Store {
    /// A statement, by its number.
    pub async fn statement(&self, workspace: i64, number: i64) -> Result<Statement, Error> {
        let now = self.clock().now();
        self.read_ledger(Some(workspace), move |tx| {
            let span = spans(tx, workspace, now)?.into_iter().find(|span| span.number == number);
            let span = span.ok_or(Error::NotFound)?;
            let Span { starts_at, ends_at, .. } = span;
            let ends = [page::last_before(tx, workspace, starts_at)?, page::last_before(tx, workspace, ends_at)?];
            let balance = |seq: Seq| {
                let entry = page::entry(tx, workspace, seq)?;
                Ok::<_, Error>(entry.map_or(0, |recorded| recorded.entry.balance))
            };
            let lines = lines(tx, workspace, starts_at, ends_at)?;
            let paid = "select id from payment where workspace = ?1 and paid_at >= ?2 and paid_at < ?3 order by receipt";
            let paid = tx.query(paid, values![workspace, starts_at, ends_at], |row| row.int(0))?;
            let payments = paid.into_iter().map(|id| find_payment(tx, workspace, id)).collect::<Result<_, _>>()?;
            let (opening, closing, entries) = (balance(ends[0])?, balance(ends[1])?, (ends[0].0, ends[1].0));
            Ok(Statement { span, entries, opening, lines, closing, payments })
        })
        .await
    }

    /// Every statement of a workspace, oldest first.
    pub async fn statements(&self, workspace: i64) -> Result<Vec<Span>, Error> {
        let now = self.clock().now();
        self.read(move |tx| spans(tx, workspace, now)).await
    }
}

/// What changed the balance from one moment to another, by kind of entry and operation.
fn lines(tx: &Tx<'_>, workspace: i64, from: Time, to: Time) -> Result<Vec<Line>, Error> {
    let mut sums: BTreeMap<(i64, Option<String>), (i64, i64)> = BTreeMap::new();
    Walk::span(workspace, from, to).pages(tx, |page| {
        for recorded in page.run().entries() {
            let entry = recorded?.entry;
            if entry.amount != 0 && from <= entry.at && entry.at < to {
                let operation = entry.price.map(|price| price.operation.to_string());
                let sum = sums.entry((codec::kind_code(entry.kind), operation)).or_default();
                *sum = (sum.0 + 1, sum.1 + entry.amount);
            }
        }
        Ok(true)
    })?;
    let line = |((kind, operation), (entries, credits))| Line { kind, operation, entries, credits };
    Ok(sums.into_iter().map(line).collect())
}

/// The time of a workspace from its beginning until now, cut into periods, and into months where no plan runs.
fn spans(tx: &Tx<'_>, workspace: i64, now: Time) -> Result<Vec<Span>, Error> {
    let workspace = find_workspace(tx, workspace)?;
    let periods = "select starts_at, ends_at from period where workspace = ?1 order by number";
    let periods = tx.query(periods, values![workspace.id], |row| Ok((row.time(0)?, row.time(1)?)))?;
    let zones = "select until, time_zone from zone where workspace = ?1 order by until";
    let mut zones = tx.query(zones, values![workspace.id], |row| Ok((row.time(0)?, row.text(1)?)))?;
    zones.push((Time(i64::MAX), workspace.time_zone.clone()));
    let (mut times, mut until) = (Vec::new(), workspace.created_at);
    for (starts_at, ends_at) in periods {
        months(&mut times, until, starts_at, &zones);
        times.push((starts_at, ends_at, ends_at > now));
        until = ends_at;
    }
    rest(&mut times, until, (&workspace, now), &zones);
    let span = |((starts_at, ends_at, is_open), number)| Span { number, starts_at, ends_at, is_open };
    Ok(times.into_iter().zip(1..).map(span).collect())
}

type Times = Vec<(Time, Time, bool)>;

/// What is behind the last period. A plan that goes on begins its next period where that one is due, however late it is paid; so
/// months go no further.
fn rest(times: &mut Times, from: Time, (workspace, now): (&Workspace, Time), zones: &[(Time, String)]) {
    let next = workspace.next_period.unwrap_or(Time(i64::MAX));
    let mut at = from;
    while at <= now && at < next {
        let end = month_end(at, zones).min(next);
        // Nobody knows yet whether a plan begins there.
        times.push((at, end, end > now || end == next));
        at = end;
    }
}

/// The months between two moments, the last one cut.
fn months(times: &mut Times, from: Time, to: Time, zones: &[(Time, String)]) {
    let mut at = from;
    while at < to {
        let end = month_end(at, zones).min(to);
        times.push((at, end, false));
        at = end;
    }
}

/// Where the month ends that a moment is in, by the zone that the workspace is in then.
fn month_end(mut at: Time, zones: &[(Time, String)]) -> Time {
    let begin = at;
    for (until, zone) in zones.iter().filter(|(until, _)| *until > begin) {
        let end = calendar::next_month(at, zone);
        if end <= *until {
            return end;
        }
        at = *until;
    }
    Time(i64::MAX)
}
