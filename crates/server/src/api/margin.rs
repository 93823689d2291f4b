//! What operations brought and what providers cost: for the operator.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::error::Error;
use super::extract::Query;
use super::{Answer, json};
use crate::app::App;
use crate::{calendar, margin};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// A day of UTC such as `2026-03-01`, inclusive; the last 30 days by default.
    from: Option<String>,
    /// A day of UTC, exclusive; tomorrow by default.
    to: Option<String>,
}

/// All sums of money are in millionths of their currency.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Margin {
    from: String,
    to: String,
    currency: String,
    operations: Vec<OperationMargin>,
    providers: Vec<ProviderCost>,
}

/// An operation that providers were called for.
#[derive(Serialize, utoipa::ToSchema)]
pub struct OperationMargin {
    operation: String,
    units: i64,
    /// Charged, less what was given back.
    credits: i64,
    /// What these credits are worth: at what their workspaces paid for a credit on average without tax, or else at the price list.
    value_micros: i64,
    /// How much of the value is at the price list.
    value_listed_micros: i64,
    /// What was paid in other currencies, which is no part of the value.
    other_values_micros: BTreeMap<String, i64>,
    cost_micros: i64,
    margin_micros: i64,
}

/// A provider, as far as it was called for one operation.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProviderCost {
    operation: String,
    provider: String,
    calls: i64,
    /// Calls that brought what was asked for.
    found: i64,
    cost_micros: i64,
}

/// What operations brought, what the calls of providers cost, and what is left.
#[utoipa::path(get, path = "/v1/margin", params(Asked), responses((status = 200, body = Margin)))]
pub async fn get(State(app): State<App>, caller: Caller, Query(asked): Query<Asked>) -> Answer {
    caller.operator()?;
    let days = calendar::days(asked.from.as_deref(), asked.to.as_deref(), app.clock.now());
    let (from, to) = days.map_err(|(field, reason)| Error::field(field, reason))?;
    let report = margin::report(&app, from, to).await?;
    let operations = report.operations.into_iter().map(|sum| OperationMargin {
        margin_micros: sum.margin(),
        operation: sum.operation,
        units: sum.units,
        credits: sum.credits,
        value_micros: sum.value,
        value_listed_micros: sum.listed,
        other_values_micros: sum.others,
        cost_micros: sum.cost,
    });
    let providers = report.providers.into_iter().map(|sum| ProviderCost {
        operation: sum.operation,
        provider: sum.provider,
        calls: sum.calls,
        found: sum.found,
        cost_micros: sum.cost,
    });
    let answer = Margin {
        from: calendar::date(from),
        to: calendar::date(to),
        currency: report.currency,
        operations: operations.collect(),
        providers: providers.collect(),
    };
    Ok(json(StatusCode::OK, &answer))
}
