//! What operations brought and what they cost the operator, for the API and the console.
//!
//! Owns the valuation of credits. Credits are the ledger's, calls and their costs are the noted ones; nothing is estimated but what a
//! credit is worth: what its workspace paid for one on average, without tax, and where it paid nothing here, what the price list asks.
//!
//! Sums of money are in millionths, because a call may cost less than a cent.

use std::collections::{BTreeMap, BTreeSet};

use billing::Time;
use billing::units::DAY;

use crate::app::App;
use crate::catalog::decimal_places;
use crate::store::Error;
use crate::store::calls::Sum;

/// What there is to know of some days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of costs and of `value`.
    pub currency: String,
    /// By name.
    pub operations: Vec<Operation>,
    /// By operation and name.
    pub providers: Vec<Provider>,
}

/// An operation that providers of ours were called for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    pub operation: String,
    pub units: i64,
    /// Charged, less what was given back.
    pub credits: i64,
    /// What these credits are worth.
    pub value: i64,
    /// How much of `value` is by the price list.
    pub listed: i64,
    /// What was paid in other currencies, which is no part of `value`.
    pub others: BTreeMap<String, i64>,
    pub cost: i64,
}

impl Operation {
    /// What is left.
    pub fn margin(&self) -> i64 {
        self.value.saturating_sub(self.cost)
    }
}

/// A provider, as far as it was called for one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    pub operation: String,
    pub provider: String,
    pub calls: i64,
    /// Calls that brought what was asked for.
    pub found: i64,
    pub cost: i64,
}

impl Provider {
    /// How many calls of a hundred brought what was asked for, rounded.
    pub fn found_percent(&self) -> i64 {
        let calls = self.calls.max(1);
        (self.found * 200 + calls) / (calls * 2)
    }
}

/// What a credit of a workspace is worth: so many millionths for so many credits, by currency.
struct Worth {
    micros: BTreeMap<String, i128>,
    credits: i128,
    listed: bool,
}

/// The operations that our providers were called for from a day to before another, in the workspaces that called them. Days are counted
/// in UTC, from 1970.
///
/// # Errors
/// When the store cannot read.
pub async fn report(app: &App, from: i64, to: i64) -> Result<Report, Error> {
    let sums = app.store.call_sums(from, to).await?;
    let currency = currency(app);
    let mut operations: BTreeMap<&str, Operation> = BTreeMap::new();
    let mut providers: BTreeMap<(&str, &str), Provider> = BTreeMap::new();
    for Sum { operation, provider, calls, found, cost, .. } in &sums {
        operations.entry(operation).or_default().cost += cost;
        let sum = providers.entry((operation, provider)).or_default();
        (sum.calls, sum.found, sum.cost) = (sum.calls + calls, sum.found + found, sum.cost + cost);
    }
    let workspaces: BTreeSet<i64> = sums.iter().map(|sum| sum.workspace).collect();
    for workspace in workspaces {
        let mut used: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for row in app.store.usage(workspace, Time(from * DAY), Time(to * DAY)).await? {
            let sum = used.entry(row.operation).or_default();
            *sum = (sum.0 + row.quantity, sum.1 + row.credits - row.refunded_credits);
        }
        let worth = worth(app, workspace, &currency).await?;
        for (name, (units, credits)) in used {
            let Some(sum) = operations.get_mut(name.as_str()) else { continue };
            (sum.units, sum.credits) = (sum.units + units, sum.credits + credits);
            for (paid, micros) in &worth.micros {
                let value = micros.saturating_mul(i128::from(credits)) / worth.credits.max(1);
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                if *paid != currency {
                    *sum.others.entry(paid.clone()).or_default() += value;
                    continue;
                }
                sum.value += value;
                sum.listed += if worth.listed { value } else { 0 };
            }
        }
    }
    let named = |(name, sum): (&str, Operation)| Operation { operation: name.to_owned(), ..sum };
    let told = |((operation, provider), sum): ((&str, &str), Provider)| Provider {
        operation: operation.to_owned(),
        provider: provider.to_owned(),
        ..sum
    };
    Ok(Report {
        operations: operations.into_iter().map(named).collect(),
        providers: providers.into_iter().map(told).collect(),
        currency,
    })
}

/// The currency of what providers cost: as configured, or else the price list's first.
fn currency(app: &App) -> String {
    let catalog = app.catalog();
    let prices =
        catalog.packs.iter().map(|pack| &pack.price).chain(catalog.plans.iter().map(|plan| &plan.price));
    let listed = prices.map(|price| price.currency.clone()).next();
    app.providers.currency.clone().or(listed).unwrap_or_else(|| "USD".to_owned())
}

async fn worth(app: &App, workspace: i64, currency: &str) -> Result<Worth, Error> {
    let (mut micros, mut credits) = (BTreeMap::new(), 0);
    for cost in app.store.costs(workspace).await? {
        credits += i128::from(cost.grant.terms.credits.get() - cost.grant.scheduled);
        if let Some((minor, paid)) = cost.paid.filter(|(minor, _)| *minor > 0) {
            let paid = paid.to_ascii_uppercase();
            *micros.entry(paid.clone()).or_default() += in_micros(minor, &paid);
        }
    }
    if !micros.is_empty() {
        return Ok(Worth { micros, credits, listed: false });
    }
    let plan = app.store.workspace(workspace).await?.plan;
    let catalog = app.catalog();
    let plan = plan.and_then(|plan| catalog.plan(&plan)).map(|plan| {
        let times = plan.interval.months() / plan.grants.months().max(1);
        (&plan.price, i128::from(plan.credits) * i128::from(times.max(1)))
    });
    let packs = catalog.packs.iter().map(|pack| (&pack.price, i128::from(pack.credits)));
    let mut prices = plan.into_iter().chain(packs).filter(|(price, _)| price.amount > 0);
    let found = prices.find(|(price, _)| price.currency.eq_ignore_ascii_case(currency));
    let (price, credits) = match found {
        Some((price, credits)) => (in_micros(price.amount, currency), credits),
        None => (0, 1),
    };
    Ok(Worth { micros: BTreeMap::from([(currency.to_owned(), price)]), credits, listed: true })
}

/// Minor units in millionths of the currency.
fn in_micros(minor: i64, currency: &str) -> i128 {
    i128::from(minor) * 10_i128.pow(6 - decimal_places(currency))
}
