//! What credits went on, over time. Equals the charges in the ledger exactly.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use billing::Time;
use billing::units::DAY;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::entries::moment;
use super::error::Error;
use super::extract::Query;
use super::{Answer, about, csv_file};
use crate::app::App;
use crate::calendar;
use crate::clock::rfc3339;
use crate::csv_cell::cell;
use crate::store::queries::UsageRow;

/// How many buckets one answer may have.
const MAX_BUCKETS: i64 = 10_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// RFC 3339, inclusive; 30 days ago by default.
    from: Option<String>,
    /// RFC 3339, exclusive; now by default.
    to: Option<String>,
    /// `hour`, `day` (default), `week` or `month`.
    interval: Option<String>,
    /// `operation` (default), `campaign`, `member` or `channel`.
    group_by: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Usage {
    time_zone: String,
    buckets: Vec<Bucket>,
    total: i64,
    /// Credits given back for charges, in the same time.
    refunded: i64,
    not_charged: Vec<NotCharged>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageBucket)]
pub struct Bucket {
    start: String,
    credits: i64,
    groups: Vec<Group>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UsageGroup)]
pub struct Group {
    key: String,
    quantity: i64,
    credits: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct NotCharged {
    operation: String,
    quantity: i64,
}

/// Usage in buckets.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/usage", params(("ws" = String, Path), Asked), responses((status = 200, body = Usage)))]
pub async fn get(State(app): State<App>, here: In, Query(query): Query<Asked>) -> Answer {
    let usage = collect(&app, here.workspace, &query).await?;
    about(&app, here.workspace, StatusCode::OK, &usage).await
}

/// The same as CSV, one line per bucket and group.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/usage.csv", params(("ws" = String, Path), Asked), responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn csv(State(app): State<App>, here: In, Query(query): Query<Asked>) -> Answer {
    let usage = collect(&app, here.workspace, &query).await?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    let unwritten = |error| {
        Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            format!("the file could not be written: {error}"),
        )
    };
    writer.write_record(["start", "key", "quantity", "credits"]).map_err(unwritten)?;
    for bucket in &usage.buckets {
        for group in &bucket.groups {
            let (quantity, credits) = (group.quantity.to_string(), group.credits.to_string());
            writer
                .write_record([bucket.start.clone(), cell(&group.key), quantity, credits])
                .map_err(unwritten)?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| unwritten(error.into_error().into()))?;
    Ok(csv_file("usage.csv", bytes))
}

async fn collect(app: &App, workspace: i64, query: &Asked) -> Result<Usage, Error> {
    let interval = one_of("interval", query.interval.as_deref(), &["day", "hour", "week", "month"])?;
    let group_by =
        one_of("group_by", query.group_by.as_deref(), &["operation", "campaign", "member", "channel"])?;
    let zone = app.store.workspace(workspace).await?.time_zone;
    let now = app.clock.now();
    let to = moment("to", query.to.as_deref())?.unwrap_or(Time(now.0 + 1));
    let month_ago = calendar::bucket_start(Time(to.0.saturating_sub(30 * DAY)), &zone, "day");
    let from = moment("from", query.from.as_deref())?.unwrap_or(month_ago);
    if from > to {
        return Err(Error::field("from", "must not be after to"));
    }
    let shortest = if interval == "hour" { DAY / 24 } else { DAY };
    if (to.0 - from.0) / shortest > MAX_BUCKETS {
        return Err(Error::field("from", format!("the range has more than {MAX_BUCKETS} buckets")));
    }
    let rows = app.store.usage(workspace, from, to).await?;
    Ok(fold(&rows, &zone, interval, group_by))
}

fn fold(rows: &[UsageRow], zone: &str, interval: &str, group_by: &str) -> Usage {
    let mut buckets: BTreeMap<Time, BTreeMap<String, (i64, i64)>> = BTreeMap::new();
    let mut not_charged: BTreeMap<String, i64> = BTreeMap::new();
    let (mut total, mut refunded) = (0, 0);
    for row in rows {
        let key = match group_by {
            "campaign" => &row.campaign,
            "member" => &row.member,
            "channel" => &row.channel,
            _ => &row.operation,
        };
        if row.quantity != 0 || row.credits != 0 {
            let bucket = buckets.entry(calendar::bucket_start(row.at, zone, interval)).or_default();
            let group = bucket.entry(key.clone()).or_default();
            (group.0, group.1) = (group.0 + row.quantity, group.1 + row.credits);
        }
        if row.not_charged != 0 {
            *not_charged.entry(row.operation.clone()).or_default() += row.not_charged;
        }
        (total, refunded) = (total + row.credits, refunded + row.refunded_credits);
    }
    let buckets = buckets
        .into_iter()
        .map(|(start, groups)| Bucket {
            start: rfc3339(start),
            credits: groups.values().map(|group| group.1).sum(),
            groups: groups
                .into_iter()
                .map(|(key, (quantity, credits))| Group { key, quantity, credits })
                .collect(),
        })
        .collect();
    let not_charged =
        not_charged.into_iter().map(|(operation, quantity)| NotCharged { operation, quantity }).collect();
    Usage { time_zone: zone.to_owned(), buckets, total, refunded, not_charged }
}

fn one_of<'a>(field: &str, given: Option<&str>, known: &[&'a str]) -> Result<&'a str, Error> {
    let Some(given) = given else { return Ok(known[0]) };
    let found = known.iter().find(|name| **name == given).copied();
    found.ok_or_else(|| Error::field(field, format!("must be one of {}", known.join(", "))))
}
