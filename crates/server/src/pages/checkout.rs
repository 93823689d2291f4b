//! The sandbox's checkout page: it takes no money, and stands for a payment provider in demos and tests.
//!
//! Whoever has the signed link may pay, as with a real provider's page; no session is asked for.

use axum::extract::{Form, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::frame::{Page, Trouble, go, page as draw, policy_towards};
use super::session::is_web;
use super::view::Checkout;
use super::view::format::QueryValue;
use crate::app::App;
use crate::finance;
use crate::money;
use crate::payments::Payments;
use crate::payments::sandbox::Card;
use crate::store::payments::{Payment, Status, parse_name};

/// The page of one payment.
pub async fn page(State(app): State<App>, Path(payment): Path<String>, Query(query): Query<Paying>) -> Page {
    let found = find(&app, &payment, &query.token).await?;
    let workspace = app.store.workspace(found.order.workspace).await?.name;
    let return_url = return_url(&found);
    let mut response = draw(&Checkout {
        payment,
        token: query.token,
        workspace,
        title: found.order.label.clone(),
        price_minor: found.order.amount,
        currency: found.order.currency,
        cards: Card::ALL.map(|card| (card.name(), card.label())).to_vec(),
        second_step: query.card.as_deref() == Some(Card::NeedsStep.name()),
        status: finance::status(found.status).to_owned(),
        return_url: return_url.clone(),
    })?;
    // Browsers hold the form to its policy also where the answer leads on to.
    let origin = reqwest::Url::parse(&return_url).ok().map(|url| url.origin().ascii_serialization());
    if let Some(policy) = origin.and_then(|origin| policy_towards(&origin)) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

#[derive(Deserialize)]
pub struct Paying {
    #[serde(default)]
    token: String,
    /// The card whose second step is shown.
    card: Option<String>,
}

#[derive(Deserialize)]
pub struct End {
    card: String,
    /// Whether the second step was done.
    confirmed: Option<String>,
}

/// The payment ends. However often it is confirmed, the credits come once.
pub async fn end(
    State(app): State<App>,
    Path(payment): Path<String>,
    Query(query): Query<Paying>,
    Form(form): Form<End>,
) -> Page {
    let found = find(&app, &payment, &query.token).await?;
    let card = Card::of(&form.card).ok_or_else(|| Trouble::unprocessable("There is no such card."))?;
    if card == Card::NeedsStep && form.confirmed.is_none() && !found.is_paid() {
        let step = format!("/checkout/{payment}?token={}&card={}", query.token.query_value(), card.name());
        return Ok(Redirect::to(&step).into_response());
    }
    let owed = app.store.balance(found.order.workspace).await?.debt > 0;
    let ended = money::pay_in_sandbox(&app, (found.order.workspace, found.id), card).await?;
    if ended.status == Status::Expired {
        // The page says that nothing can be paid on it any more.
        let same = format!("/checkout/{payment}?token={}", query.token.query_value());
        return Ok(Redirect::to(&same).into_response());
    }
    let workspace = ended.order.workspace;
    app.nudge();
    let to = return_url(&ended);
    let flash = match ended.status {
        Status::Paid if owed && app.store.available(workspace).await? == 0 => {
            format!("paid-owed.{}", ended.credits())
        }
        Status::Paid => format!("paid.{}", ended.credits()),
        _ => "declined".to_owned(),
    };
    // Credits that brought everything back are told of by the banner; another site has words of its own.
    let told = app.store.standing(workspace).await?.restored.is_some_and(|it| it.is_told(app.clock.now()));
    let quiet = !to.starts_with('/') || (told && ended.status == Status::Paid);
    Ok(if quiet { Redirect::to(&to).into_response() } else { go(&app, &to, &flash) })
}

async fn find(app: &App, payment: &str, token: &str) -> Result<Payment, Trouble> {
    if !matches!(app.payments, Some(Payments::Sandbox)) || !app.is_checkout_token(payment, token) {
        return Err(Trouble::not_found());
    }
    let (workspace, number) = parse_name(payment).ok_or_else(Trouble::not_found)?;
    Ok(app.store.payment(workspace, number).await?)
}

/// Back to where the person came from: the web or a path of ours, never a script or another scheme.
fn return_url(payment: &Payment) -> String {
    let local = |url: &str| url.starts_with('/') && !url[1..].starts_with(['/', '\\']);
    let known = payment.order.return_url.as_deref().filter(|url| is_web(url) || local(url));
    known.unwrap_or("/billing").to_owned()
}
