//! The sandbox's checkout page: it takes no money, and stands for a payment provider in demos and tests.
//!
//! Whoever has the signed link may pay, as with a real provider's page; no session is asked for.

use axum::extract::{Form, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::frame::{Page, Trouble, go, page as draw, policy_towards};
use super::session::{Token, is_web};
use super::view::Checkout;
use crate::app::App;
use crate::id;
use crate::store::topups::{TopUp, TopUpStatus};

/// The page of one top-up.
pub async fn page(State(app): State<App>, Path(topup): Path<String>, Query(query): Query<Token>) -> Page {
    let found = find(&app, &topup, &query.token).await?;
    let workspace = app.store.workspace(found.workspace).await?.name;
    let return_url = return_url(&found);
    let mut response = draw(&Checkout {
        topup,
        token: query.token,
        workspace,
        credits: found.credits,
        price_minor: found.amount,
        currency: found.currency,
        status: status(found.status).to_owned(),
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
pub struct End {
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Paid,
    Declined,
}

/// The payment ends. However often it is confirmed, the credits come once.
pub async fn end(
    State(app): State<App>,
    Path(topup): Path<String>,
    Query(query): Query<Token>,
    Form(form): Form<End>,
) -> Page {
    let TopUp { workspace, id, .. } = find(&app, &topup, &query.token).await?;
    let ended = match form.outcome {
        Outcome::Paid => app.store.topup_paid(workspace, id).await?,
        Outcome::Declined => app.store.topup_declined(workspace, id).await?,
    };
    app.nudge();
    let to = return_url(&ended);
    let flash = match ended.status {
        TopUpStatus::Paid => format!("paid.{}", ended.credits),
        _ => "declined".to_owned(),
    };
    // Credits that brought everything back are told of by the banner; another site has words of its own.
    let told = app.store.standing(workspace).await?.restored.is_some_and(|it| it.is_told(app.clock.now()));
    let quiet = !to.starts_with('/') || (told && ended.status == TopUpStatus::Paid);
    Ok(if quiet { Redirect::to(&to).into_response() } else { go(&app, &to, &flash) })
}

async fn find(app: &App, topup: &str, token: &str) -> Result<TopUp, Trouble> {
    if !app.sandbox || !app.is_checkout_token(topup, token) {
        return Err(Trouble::not_found());
    }
    let (workspace, number) = id::parse_inside("topup", topup).ok_or_else(Trouble::not_found)?;
    Ok(app.store.topup(workspace, number).await?)
}

/// Back to where the person came from: the web or a path of ours, never a script or another scheme.
fn return_url(topup: &TopUp) -> String {
    let local = |url: &str| url.starts_with('/') && !url[1..].starts_with(['/', '\\']);
    let known = topup.return_url.as_deref().filter(|url| is_web(url) || local(url));
    known.unwrap_or("/billing").to_owned()
}

fn status(status: TopUpStatus) -> &'static str {
    match status {
        TopUpStatus::Pending => "pending",
        TopUpStatus::Paid => "paid",
        TopUpStatus::Declined => "declined",
        TopUpStatus::Expired => "expired",
        TopUpStatus::Refunded => "refunded",
    }
}
