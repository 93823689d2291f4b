//! The subscription: a workspace's plan, what a change of it would mean, and the change.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use billing::Time;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, IdempotencyKey, Json, KeyHeader, Nothing};
use super::money::return_url;
use super::workspaces::known_plan;
use super::{Answer, about, first};
use crate::app::App;
use crate::catalog::Price;
use crate::clock::rfc3339;
use crate::money;
use crate::store::committer::KeyKind;
use crate::store::payments::{Payment, Status};
use crate::store::subscriptions::change::{Subscription, Wish};
use crate::store::subscriptions::{Change, Standing, Terms, When, billed};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Subscription)]
pub struct View {
    /// The plan, or null where there never was one.
    plan: Option<String>,
    /// `incomplete`, `trialing`, `active`, `past_due`, `canceling`, `canceled`; null without a plan.
    status: Option<&'static str>,
    /// What is paid at once, from then on …
    period_start: Option<String>,
    /// … until then.
    period_end: Option<String>,
    /// Another plan that begins with the next renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_plan: Option<String>,
    /// Credits of each grant.
    credits: Option<i64>,
    /// Money each time, without tax.
    price: Option<Price>,
    /// When the next credits come.
    renews_at: Option<String>,
    /// The payment that is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<String>,
    /// Where it can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_url: Option<String>,
    /// When a declined renewal is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries_at: Option<String>,
}

fn view(app: &App, is: &Subscription, ordered: Option<&Payment>) -> View {
    let workspace = &is.workspace;
    let next_plan = money::next_plan(app, workspace).and_then(Result::ok);
    let terms = workspace.terms.as_ref();
    let (start, end) = bounds(is).unzip();
    let open = ordered.or(is.awaited.as_ref()).filter(|payment| !payment.is_paid());
    let open = open.filter(|payment| payment.status != Status::Expired);
    View {
        plan: workspace.plan.clone(),
        status: workspace.subscription.map(Standing::name),
        period_start: start.map(rfc3339),
        period_end: end.map(rfc3339),
        next_plan: next_plan.map(|terms| terms.plan),
        credits: terms.map(|terms| terms.credits),
        price: terms.map(|terms| Price { amount: terms.amount, currency: terms.currency.clone() }),
        renews_at: workspace.renews_at().map(rfc3339),
        payment: open.map(Payment::name),
        checkout_url: open.and_then(|payment| payment.checkout_url.clone()),
        retries_at: open.filter(|payment| payment.attempts > 0).and_then(|it| it.next_attempt).map(rfc3339),
    }
}

/// The time that is paid at once, or the trial.
fn bounds(is: &Subscription) -> Option<(Time, Time)> {
    let (workspace, terms) = (&is.workspace, is.workspace.terms.as_ref()?);
    let began = is.period.filter(|period| period.number >= workspace.first_period);
    match (workspace.subscription?, began) {
        (Standing::Incomplete, _) => None,
        (_, Some(period)) => Some(billed(workspace, terms, period)),
        (_, None) => {
            Some((Time(workspace.anchor.0 - terms.trial?.0 * billing::units::DAY), workspace.anchor))
        }
    }
}

/// The plan of a workspace and how it stands.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/subscription", params(("ws" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, here: In) -> Answer {
    let is = app.store.subscription(here.workspace).await?;
    about(&app, here.workspace, StatusCode::OK, &view(&app, &is, None)).await
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionChange)]
pub struct Put {
    plan: String,
    /// A larger plan now, a smaller one with the next renewal, by default.
    #[schema(inline)]
    when: Option<When>,
    /// Where the checkout leads back to.
    #[schema(max_length = 2000)]
    return_url: Option<String>,
}

/// Subscribe, or change the plan. What costs money takes effect when it is paid: with the saved method at once, otherwise at
/// `checkout_url`.
#[utoipa::path(put, path = "/v1/workspaces/{ws}/subscription", params(("ws" = String, Path), KeyHeader), request_body = Put, responses((status = 200, body = View)))]
pub async fn put(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Put>,
) -> Answer {
    let terms = Box::new(known_plan(&app, &body.plan)?);
    return_url(body.return_url.as_deref())?;
    can_pay(&app, here.workspace, &terms).await?;
    let key = extract::key(KeyKind::Subscription, &key, &("plan", &body));
    let wish = Wish::Plan { terms, when: body.when, return_url: body.return_url };
    act(&app, &here, wish, key).await
}

/// A workspace whose money is collected needs somebody who collects it.
async fn can_pay(app: &App, workspace: i64, terms: &Terms) -> Result<(), Error> {
    let pays = app.store.workspace(workspace).await?.pays();
    if pays && terms.amount > 0 {
        money::provider(app)?;
    }
    Ok(())
}

async fn act(app: &App, here: &In, wish: Wish, key: crate::store::committer::Key) -> Answer {
    let (workspace, actor) = (here.workspace, here.caller.actor());
    let here = app.clone();
    // Whatever cannot be written fails below, where it is made again.
    let answer = move |is: &Subscription| serde_json::to_string(&view(&here, is, None)).unwrap_or_default();
    let (is, ordered, replayed) =
        money::change(app, (workspace, actor), wish, (key.clone(), Some(Arc::new(answer)))).await?;
    app.nudge();
    first(app, workspace, key, &view(app, &is, ordered.as_ref()), replayed.into()).await
}

/// End the subscription with its period. What is left stays.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/subscription/cancel", params(("ws" = String, Path), KeyHeader), responses((status = 200, body = View)))]
pub async fn cancel(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    _: Nothing,
) -> Answer {
    let key = extract::key(KeyKind::Subscription, &key, &"cancel");
    act(&app, &here, Wish::Cancel, key).await
}

/// Renew after all.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/subscription/resume", params(("ws" = String, Path), KeyHeader), responses((status = 200, body = View)))]
pub async fn resume(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    _: Nothing,
) -> Answer {
    let key = extract::key(KeyKind::Subscription, &key, &"resume");
    act(&app, &here, Wish::Resume, key).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscriptionPreview)]
pub struct Asked {
    plan: String,
    #[schema(inline)]
    when: Option<When>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SubscriptionConsequences)]
pub struct Consequences {
    plan: String,
    /// `stay`, `begin`, `trial`, `after_trial`, `renewal`, `difference` or `new_period`.
    change: &'static str,
    /// What is paid now, without tax.
    price_now: Price,
    /// Minor units of tax on it; 0 where the provider adds it when it is paid.
    tax_now: i64,
    /// Credits that are added once it is paid.
    credits_now: i64,
    /// When the plan changes; null: once it is paid, or at once when nothing is.
    begins_at: Option<String>,
    /// What is paid at each renewal then, without tax.
    renewal_price: Price,
    /// Credits of each grant then.
    renewal_credits: i64,
}

/// What a change of plan would mean now. Changes nothing.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/subscription/preview", params(("ws" = String, Path)), request_body = Asked, responses((status = 200, body = Consequences)))]
pub async fn preview(State(app): State<App>, here: In, Json(body): Json<Asked>) -> Answer {
    let terms = known_plan(&app, &body.plan)?;
    let (change, is) = app.store.preview_change(here.workspace, terms.clone(), body.when).await?;
    let free = !is.workspace.pays();
    let (name, (amount, tax, credits), at) = match change {
        Change::Stay => ("stay", (0, 0, 0), None),
        Change::Begin => ("begin", (terms.amount, terms.tax(), terms.credits), None),
        Change::Trial { credits, .. } => ("trial", (0, 0, credits), None),
        Change::AfterTrial => ("after_trial", (0, 0, 0), Some(is.workspace.anchor)),
        Change::AtRenewal { at } => ("renewal", (0, 0, 0), Some(at)),
        Change::Difference { amount, tax, credits } => ("difference", (amount, tax, credits), None),
        Change::NewPeriod => ("new_period", (terms.amount, terms.tax(), terms.credits), None),
    };
    let price = |amount| Price { amount, currency: terms.currency.clone() };
    let renewal = money::renewed(&app, &is, &change, &terms);
    // A plan that is not offered any more by then does not begin.
    let (name, at) = if at.is_some() && renewal.plan != terms.plan { ("stay", None) } else { (name, at) };
    let consequences = Consequences {
        change: name,
        price_now: price(if free { 0 } else { amount }),
        tax_now: if free { 0 } else { tax },
        credits_now: credits,
        begins_at: at.map(rfc3339),
        renewal_price: Price { amount: renewal.amount, currency: renewal.currency },
        renewal_credits: renewal.credits,
        plan: terms.plan,
    };
    about(&app, here.workspace, StatusCode::OK, &consequences).await
}
