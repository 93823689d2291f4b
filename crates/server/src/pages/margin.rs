//! What operations brought and what providers cost, in the operator's console.

use axum::extract::{Query, State};
use serde::Deserialize;

use super::frame::{Page, Trouble, page as draw};
use super::operator::label;
use super::session::Operator;
use super::view::format::micros;
use super::view::{CostRow, Margin, MarginRow};
use crate::app::App;
use crate::{calendar, margin};

/// Which days.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Asked {
    from: String,
    to: String,
}

/// The last 30 days, or others.
pub async fn page(State(app): State<App>, operator: Operator, Query(asked): Query<Asked>) -> Page {
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let days = calendar::days(some(&asked.from), some(&asked.to), app.clock.now());
    let (from, to) = days.map_err(|(field, reason)| Trouble::unprocessable(format!("{field} {reason}.")))?;
    let report = margin::report(&app, from, to).await?;
    let money = |sum: i64| micros(sum, &report.currency);
    let operation = |sum: &margin::Operation| MarginRow {
        label: label(&app, &sum.operation),
        units: sum.units,
        credits: sum.credits,
        value: money(sum.value),
        listed: Some(sum.listed).filter(|listed| *listed != 0).map(money),
        others: sum.others.iter().map(|(currency, sum)| micros(*sum, currency)).collect(),
        cost: money(sum.cost),
        margin: money(sum.margin()),
    };
    let all = |of: fn(&margin::Operation) -> i64| money(report.operations.iter().map(of).sum());
    let provider = |sum: &margin::Provider| CostRow {
        provider: sum.provider.clone(),
        label: label(&app, &sum.operation),
        calls: sum.calls,
        found: sum.found,
        percent: sum.found_percent(),
        cost: money(sum.cost),
    };
    draw(&Margin {
        flash: operator.flash,
        from: calendar::date(from),
        to: calendar::date(to),
        rows: report.operations.iter().map(operation).collect(),
        value: all(|sum| sum.value),
        cost: all(|sum| sum.cost),
        margin: all(margin::Operation::margin),
        providers: report.providers.iter().map(provider).collect(),
    })
}
