//! The balance, its live stream, and what something would cost.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use billing::Quantity;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::embed::{Onlooker, Ticket};
use super::error::{Error, shortfall};
use super::extract::{self, Json};
use super::{Answer, Fresh, with_available, write};
use crate::app::App;
use crate::clock::rfc3339;
use crate::feed::{Audience, Listener};
use crate::id;
use crate::store::alerts::level_name;
use crate::store::codec::grant_kind_name;
use crate::store::queries;

/// How often it is looked whether a token or key was revoked while nothing changes, in seconds.
const LOOK_EVERY: u32 = 10;

#[derive(Serialize, utoipa::ToSchema)]
pub struct Balance {
    available: i64,
    held: i64,
    /// available + held - debt
    balance: i64,
    debt: i64,
    /// `healthy`, `low`, `critical` or `out`.
    state: &'static str,
    /// What the next piece of work costs, while it cannot be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<i64>,
    grants: Vec<Grant>,
    renews_at: Option<String>,
    renewal_credits: Option<i64>,
}

/// Each event of the stream.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "it describes what the stream writes")]
pub struct BalanceEvent {
    /// `balance`
    event: String,
    /// A `Balance`, as JSON.
    data: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Grant {
    id: String,
    kind: &'static str,
    granted: i64,
    available: i64,
    held: i64,
    consumed: i64,
    priority: i32,
    effective_at: String,
    expires_at: Option<String>,
}

/// A grant as callers see it.
pub fn grant(workspace: i64, grant: &billing::Grant) -> Grant {
    Grant {
        id: id::inside("grant", workspace, grant.id.0),
        kind: grant_kind_name(grant.terms.kind),
        granted: grant.terms.credits.get(),
        available: grant.available,
        held: grant.held,
        consumed: grant.consumed,
        priority: grant.terms.priority,
        effective_at: rfc3339(grant.terms.effective_at),
        expires_at: grant.terms.expires_at.map(rfc3339),
    }
}

fn document(workspace: i64, balance: &queries::Balance) -> Balance {
    Balance {
        available: balance.available,
        held: balance.held,
        balance: balance.available + balance.held - balance.debt,
        debt: balance.debt,
        state: level_name(balance.level),
        needed: balance.needed,
        grants: balance.grants.iter().map(|one| grant(workspace, one)).collect(),
        renews_at: balance.renews_at.map(rfc3339),
        renewal_credits: balance.renewal_credits,
    }
}

/// What is left.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/balance", params(("ws" = String, Path), ("token" = Option<String>, Query)), responses((status = 200, body = Balance)))]
pub async fn balance(State(app): State<App>, here: Onlooker) -> Answer {
    let balance = app.balance(here.workspace).await?;
    let document = document(here.workspace, &balance);
    Ok(here.show(with_available(StatusCode::OK, &document, balance.available, Fresh::Yes)))
}

/// The balance as server-sent events: at once, and on every change. An embed token may stand in the address.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/events", params(("ws" = String, Path), ("token" = Option<String>, Query)), responses((status = 200, content_type = "text/event-stream", body = BalanceEvent)))]
pub async fn events(State(app): State<App>, here: Onlooker) -> Result<Response, Error> {
    let listener = app.feeds.listen(&app, (here.workspace, Audience::Program), draw);
    let first = text(here.workspace, &app.balance(here.workspace).await?)?;
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    let stream = stream(app, listener, here.ticket.clone(), first);
    Ok(here.show(Sse::new(stream).keep_alive(keep_alive).into_response()))
}

async fn draw(app: App, workspace: i64) -> Option<Arc<str>> {
    text(workspace, &app.balance(workspace).await.ok()?).ok()
}

fn text(workspace: i64, balance: &queries::Balance) -> Result<Arc<str>, Error> {
    let mut text = Vec::new();
    write(&mut text, &document(workspace, balance))?;
    Ok(String::from_utf8_lossy(&text).into())
}

fn stream(
    app: App,
    listener: Listener,
    ticket: Ticket,
    first: Arc<str>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(
        (app, ticket, listener, Some(first)),
        move |(app, ticket, mut listener, first)| async move {
            let news = match first {
                Some(first) => {
                    listener.is_news(&first);
                    first
                }
                None => next(&app, &mut listener, &ticket).await?,
            };
            Some((Ok(Event::default().event("balance").data(news)), (app, ticket, listener, None)))
        },
    )
}

/// Waits for another balance. `None` when the server stops, or looking ends.
async fn next(app: &App, listener: &mut Listener, ticket: &Ticket) -> Option<Arc<str>> {
    for second in 1_u32.. {
        let drawn = match ticket {
            Ticket::Operator => Some(listener.next().await?),
            // A manual clock tells nobody when it moves.
            _ => match tokio::time::timeout(Duration::from_secs(1), listener.next()).await {
                Ok(drawn) => Some(drawn?),
                Err(_) => None,
            },
        };
        let look = drawn.is_some() || second.is_multiple_of(LOOK_EVERY);
        if ticket.has_ended(app.clock.now()) || (look && ticket.is_revoked(app).await) {
            return None;
        }
        if let Some(news) = drawn.filter(|drawn| listener.is_news(drawn)) {
            return Some(news);
        }
    }
    None
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEstimate)]
pub struct Estimate {
    #[serde(deserialize_with = "extract::objects")]
    #[schema(max_items = 100)]
    items: Vec<Item>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEstimateItem)]
pub struct Item {
    operation: String,
    #[schema(minimum = 1)]
    quantity: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Estimate)]
pub struct Estimated {
    credits: i64,
    available: i64,
    covered: bool,
    shortfall: i64,
    items: Vec<EstimatedItem>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EstimateItem)]
pub struct EstimatedItem {
    operation: String,
    quantity: i64,
    unit_price: i64,
    credits: i64,
}

/// What something would cost. Charges nothing.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/estimates", params(("ws" = String, Path)), request_body = Estimate, responses((status = 200, body = Estimated)))]
pub async fn estimate(State(app): State<App>, here: In, Json(body): Json<Estimate>) -> Answer {
    if body.items.is_empty() || body.items.len() > 100 {
        return Err(Error::field("items", "has 1 to 100 items"));
    }
    let mut items = Vec::with_capacity(body.items.len());
    let mut credits: i64 = 0;
    for (index, item) in body.items.into_iter().enumerate() {
        let quantity = Quantity::new(item.quantity).ok_or_else(|| {
            Error::field(format!("items[{index}].quantity"), "must be a whole number from 1 to 1,000,000,000")
        })?;
        let price = app.price(&item.operation, quantity)?.ok_or_else(|| {
            Error::field(format!("items[{index}].operation"), "the catalog has no such operation")
                .code("unknown_operation")
        })?;
        let amount = price.amount();
        credits += amount;
        items.push(EstimatedItem {
            operation: item.operation,
            quantity: price.quantity,
            unit_price: price.unit_price,
            credits: amount,
        });
    }
    let balance = app.balance(here.workspace).await?;
    let available = balance.available;
    let shortfall = shortfall(credits, available, balance.debt);
    let body = Estimated { credits, available, covered: shortfall == 0, shortfall, items };
    Ok(with_available(StatusCode::OK, &body, available, Fresh::Yes))
}
