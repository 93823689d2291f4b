//! The ledger as a list: what happened to the balance, line by line, and the same as CSV.

use axum::extract::State;
use axum::http::StatusCode;
use billing::EntryKind;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, Items, Query};
use super::{Answer, about, csv_file};
use crate::app::App;
use crate::clock::{parse_rfc3339, rfc3339};
use crate::csv_cell::cell;
use crate::id;
use crate::store::codec::kind_code;
use crate::store::entry::Recorded;
use crate::store::queries::EntryFilter;

/// How many lines are read at a time for a CSV.
const CSV_PAGE: i64 = 2_000;

#[derive(Deserialize, utoipa::IntoParams, Default)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// `grant`, `charge`, `expire`, `revoke`, `refund`, `adjust` or `repay`.
    kind: Option<String>,
    operation: Option<String>,
    campaign: Option<String>,
    member: Option<String>,
    lead: Option<String>,
    /// RFC 3339, inclusive.
    from: Option<String>,
    /// RFC 3339, exclusive.
    to: Option<String>,
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    cursor: Option<String>,
    /// `desc` (default) or `asc`.
    order: Option<String>,
    /// With `order=asc`: entries after this one.
    after_seq: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Entry)]
pub struct Line {
    seq: i64,
    at: String,
    kind: &'static str,
    /// Change of the balance.
    amount: i64,
    balance_after: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    actor: String,
}

fn line(workspace: i64, recorded: &Recorded) -> Line {
    let (entry, labels) = (&recorded.entry, &recorded.entry.labels);
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let price = entry.price.as_ref();
    Line {
        seq: entry.seq.0,
        at: rfc3339(entry.at),
        kind: kind_name(entry.kind),
        amount: entry.amount,
        balance_after: entry.balance,
        operation: price.map(|price| price.operation.to_string()),
        quantity: price.map(|price| price.quantity),
        unit_price: price.map(|price| price.unit_price),
        campaign: text(&labels.campaign),
        member: text(&labels.member),
        channel: text(&labels.channel),
        reference: text(&labels.reference),
        lead: text(&labels.lead),
        grant: entry.grant.map(|grant| id::inside("grant", workspace, grant.0)),
        hold: entry.hold.map(|hold| id::inside("hold", workspace, hold.0)),
        reason: recorded.note.as_ref().and_then(|note| text(&note.reason)),
        actor: recorded.actor.to_string(),
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Grant => "grant",
        EntryKind::Charge => "charge",
        EntryKind::Expire => "expire",
        EntryKind::Revoke => "revoke",
        EntryKind::Refund => "refund",
        EntryKind::Adjust => "adjust",
        EntryKind::Repay => "repay",
        EntryKind::Schedule => "schedule",
        EntryKind::Hold => "hold",
        EntryKind::Dispatch => "dispatch",
        EntryKind::Extend => "extend",
        EntryKind::Doubt => "doubt",
        EntryKind::Release => "release",
    }
}

fn filter(query: &Listing) -> Result<EntryFilter, Error> {
    let kinds = match query.kind.as_deref() {
        None => Vec::new(),
        Some(name) => {
            let listed = [
                EntryKind::Grant,
                EntryKind::Charge,
                EntryKind::Expire,
                EntryKind::Revoke,
                EntryKind::Refund,
                EntryKind::Adjust,
                EntryKind::Repay,
            ];
            let kind = listed.into_iter().find(|kind| kind_name(*kind) == name);
            let kind = kind.ok_or_else(|| {
                Error::field("kind", "must be grant, charge, expire, revoke, refund, adjust or repay")
            })?;
            vec![kind_code(kind)]
        }
    };
    let ascending = match query.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::field("order", "must be asc or desc")),
    };
    if query.after_seq.is_some() && !ascending {
        return Err(Error::field("after_seq", "goes with order=asc"));
    }
    if query.after_seq.is_some_and(|seq| seq < 0) {
        return Err(Error::field("after_seq", "must be 0 or more"));
    }
    let cursor = extract::number_cursor(query.cursor.as_deref())?.or(query.after_seq);
    Ok(EntryFilter {
        kinds,
        operations: query.operation.iter().cloned().collect(),
        campaign: query.campaign.clone(),
        member: query.member.clone(),
        channel: None,
        lead: query.lead.clone(),
        from: moment("from", query.from.as_deref())?,
        to: moment("to", query.to.as_deref())?,
        cursor,
        ascending,
    })
}

/// A time in a query.
pub fn moment(field: &str, text: Option<&str>) -> Result<Option<billing::Time>, Error> {
    let parse = |text| {
        parse_rfc3339(text).ok_or_else(|| Error::field(field, "must be a time such as 2027-01-31T10:00:00Z"))
    };
    text.map(parse).transpose()
}

/// The lines of the ledger that change or explain the balance.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/entries", params(("ws" = String, Path), Listing), responses((status = 200, body = Items<Line>)))]
pub async fn list(State(app): State<App>, here: In, Query(query): Query<Listing>) -> Answer {
    let limit = extract::page_size(query.limit)?;
    let rows = app.store.entries(here.workspace, filter(&query)?, limit + 1).await?;
    let items = Items::new(rows, limit, |row| row.entry.seq.0.to_string(), |row| line(here.workspace, &row));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// The same lines as CSV, all of them.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/entries.csv", params(("ws" = String, Path), Listing), responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn csv(State(app): State<App>, here: In, Query(query): Query<Listing>) -> Answer {
    let mut filter = filter(&query)?;
    // A file has all of them: it is only checked.
    extract::page_size(query.limit)?;
    app.store.available(here.workspace).await?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "seq",
        "at",
        "kind",
        "amount",
        "balance_after",
        "operation",
        "quantity",
        "unit_price",
        "campaign",
        "member",
        "channel",
        "reference",
        "lead",
        "grant",
        "hold",
        "reason",
        "actor",
    ];
    writer.write_record(header).map_err(unwritten)?;
    loop {
        let rows = app.store.entries(here.workspace, filter.clone(), CSV_PAGE).await?;
        for row in &rows {
            writer.write_record(record(&line(here.workspace, row))).map_err(unwritten)?;
        }
        match rows.last() {
            Some(last) if rows.len() as i64 == CSV_PAGE => filter.cursor = Some(last.entry.seq.0),
            _ => break,
        }
    }
    let bytes = writer.into_inner().map_err(|error| unwritten(error.into_error().into()))?;
    Ok(csv_file("entries.csv", bytes))
}

fn record(line: &Line) -> [String; 17] {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
    [
        line.seq.to_string(),
        line.at.clone(),
        line.kind.to_owned(),
        line.amount.to_string(),
        line.balance_after.to_string(),
        text(&line.operation),
        number(line.quantity),
        number(line.unit_price),
        text(&line.campaign),
        text(&line.member),
        text(&line.channel),
        text(&line.reference),
        text(&line.lead),
        text(&line.grant),
        text(&line.hold),
        text(&line.reason),
        cell(&line.actor),
    ]
}

fn unwritten(error: csv::Error) -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        format!("the file could not be written: {error}"),
    )
}
