//! Holds and charges: one call before the paid service, one after.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use billing::account::ReleaseReason;
use billing::ledger::{Command, HoldTerms, Outcome};
use billing::{Hold, Labels, Quantity, Seq};
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::error::{Error, status_name};
use super::extract::{self, IdempotencyKey, Items, Json, KeyHeader, Nothing, Path, Query};
use super::{Answer, Fresh, about, first, with_available};
use crate::app::App;
use crate::clock::rfc3339;
use crate::id;
use crate::store::committer::{self, KeyKind, Post};
use crate::store::entry::Recorded;

/// How long a hold lasts unless the caller says otherwise, in seconds.
const DEFAULT_SECONDS: i64 = 900;

#[derive(Deserialize, Serialize, utoipa::ToSchema, Clone)]
#[serde(deny_unknown_fields)]
#[schema(as = NewHold)]
pub struct Create {
    pub(super) operation: String,
    /// Units, 1 or more.
    #[schema(minimum = 1)]
    pub(super) quantity: i64,
    #[schema(max_length = 200)]
    pub(super) campaign: Option<String>,
    #[schema(max_length = 200)]
    pub(super) member: Option<String>,
    #[schema(max_length = 200)]
    pub(super) channel: Option<String>,
    #[schema(max_length = 200)]
    pub(super) reference: Option<String>,
    /// 900 by default, at most 604800.
    #[schema(minimum = 1, maximum = 604_800)]
    pub(super) expires_in_seconds: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HoldOpened)]
pub struct Opened {
    id: String,
    status: &'static str,
    operation: String,
    quantity: i64,
    unit_price: i64,
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    available: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Hold)]
pub struct View {
    id: String,
    status: &'static str,
    operation: String,
    quantity: i64,
    unit_price: i64,
    amount: i64,
    created_at: String,
    expires_at: Option<String>,
    in_doubt_until: Option<String>,
    release_reason: Option<&'static str>,
    settled_quantity: i64,
    settled_amount: i64,
    released_amount: i64,
    refunded_quantity: i64,
    campaign: Option<String>,
    member: Option<String>,
    channel: Option<String>,
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<i64>,
}

/// A hold as callers see it.
pub fn view(workspace: i64, hold: &Hold, available: Option<i64>) -> View {
    use billing::HoldStatus::{Dispatched, InDoubt, Open};
    let price = &hold.price;
    let (amount, settled_amount) = (price.amount(), hold.settled * price.unit_price);
    let waits = matches!(hold.status, Open | Dispatched);
    View {
        id: id::inside("hold", workspace, hold.id.0),
        status: status_name(hold.status),
        operation: price.operation.to_string(),
        quantity: price.quantity,
        unit_price: price.unit_price,
        amount,
        created_at: rfc3339(hold.opened_at),
        expires_at: waits.then(|| rfc3339(hold.ends_at)),
        in_doubt_until: (hold.status == InDoubt).then(|| rfc3339(hold.ends_at)),
        release_reason: hold.release_reason.map(release_name),
        settled_quantity: hold.settled,
        settled_amount,
        released_amount: if hold.is_open() { 0 } else { amount - settled_amount },
        refunded_quantity: hold.refunded,
        campaign: hold.labels.campaign.as_deref().map(str::to_owned),
        member: hold.labels.member.as_deref().map(str::to_owned),
        channel: hold.labels.channel.as_deref().map(str::to_owned),
        reference: hold.labels.reference.as_deref().map(str::to_owned),
        available,
    }
}

fn release_name(reason: ReleaseReason) -> &'static str {
    match reason {
        ReleaseReason::Caller => "caller",
        ReleaseReason::Expired => "expired",
        ReleaseReason::Deadline => "deadline",
    }
}

/// The first answer to a hold or a charge, from its entry alone, so that a replay is the same to the byte.
pub fn opened(workspace: i64, recorded: &Recorded, kind: KeyKind) -> Opened {
    let entry = &recorded.entry;
    let (operation, quantity, unit_price) = entry.price.as_ref().map_or((String::new(), 0, 0), |price| {
        (price.operation.to_string(), price.quantity, price.unit_price)
    });
    Opened {
        id: id::inside("hold", workspace, entry.seq.0),
        status: if kind == KeyKind::Charge { "settled" } else { "open" },
        operation,
        quantity,
        unit_price,
        amount: quantity * unit_price,
        expires_at: entry.until.map(rfc3339),
        available: entry.available,
    }
}

/// Checks and prices a hold or charge.
pub fn terms(app: &App, body: &Create) -> Result<HoldTerms, Error> {
    let quantity = Quantity::new(body.quantity)
        .ok_or_else(|| Error::field("quantity", "must be a whole number from 1 to 1,000,000,000"))?;
    let labels = [
        ("campaign", &body.campaign),
        ("member", &body.member),
        ("channel", &body.channel),
        ("reference", &body.reference),
    ];
    for (field, label) in labels {
        extract::optional_text(field, label.as_deref(), 200)?;
    }
    let price = app.price(&body.operation, quantity)?.ok_or_else(|| {
        Error::field("operation", "the catalog has no such operation").code("unknown_operation")
    })?;
    let label = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Arc::from);
    let labels = Labels {
        campaign: label(&body.campaign),
        member: label(&body.member),
        channel: label(&body.channel),
        reference: label(&body.reference),
        lead: None,
    };
    let seconds = body.expires_in_seconds.unwrap_or(DEFAULT_SECONDS);
    Ok(HoldTerms { price, labels: Arc::new(labels), seconds, epoch: 0 })
}

/// Set credits aside.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/holds", params(("ws" = String, Path), KeyHeader), request_body = Create, responses((status = 201, body = Opened)))]
pub async fn create(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Create>,
) -> Answer {
    open(&app, &here, &key, &body, KeyKind::Hold).await
}

/// Hold and settle in one.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/charges", params(("ws" = String, Path), KeyHeader), request_body = Create, responses((status = 201, body = Opened)))]
pub async fn charge(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Create>,
) -> Answer {
    open(&app, &here, &key, &body, KeyKind::Charge).await
}

async fn open(app: &App, here: &In, key: &str, body: &Create, kind: KeyKind) -> Answer {
    let post = opening(app, here.workspace, key, body, kind, &here.caller.actor())?;
    let answer = app.store.post(post).await?;
    let recorded = answer.entry.ok_or_else(Error::not_found)?;
    let body = opened(here.workspace, &recorded, kind);
    Ok(with_available(StatusCode::CREATED, &body, answer.available, answer.replayed.into()))
}

/// The post of a hold or charge.
pub fn opening(
    app: &App,
    workspace: i64,
    key: &str,
    body: &Create,
    kind: KeyKind,
    actor: &str,
) -> Result<Post, Error> {
    let terms = terms(app, body)?;
    let command = if kind == KeyKind::Charge { Command::Charge(terms) } else { Command::Hold(terms) };
    let mut post = Post::new(workspace, command, actor);
    post.key = Some(extract::key(kind, key, body));
    Ok(post)
}

/// One hold.
#[utoipa::path(get, path = "/v1/holds/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(hold): Path<String>) -> Answer {
    let (workspace, hold) = caller.ledger("hold", &hold)?;
    let hold = app.store.hold(workspace, hold).await?;
    about(&app, workspace, StatusCode::OK, &view(workspace, &hold, None)).await
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// `open`, `dispatched`, `in_doubt`, `settled` or `released`.
    status: Option<String>,
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Holds, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/holds", params(("ws" = String, Path), Listing), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(query): Query<Listing>) -> Answer {
    let (limit, cursor) =
        (extract::page_size(query.limit)?, extract::number_cursor(query.cursor.as_deref())?);
    let names = ["open", "dispatched", "in_doubt", "settled", "released"];
    let status = match &query.status {
        Some(status) => Some(names.iter().position(|name| name == status).ok_or_else(|| {
            Error::field("status", "must be open, dispatched, in_doubt, settled or released")
        })? as i64),
        None => None,
    };
    let rows = app.store.holds(here.workspace, status, cursor, limit + 1).await?;
    let items =
        Items::new(rows, limit, |hold| hold.id.0.to_string(), |hold| view(here.workspace, &hold, None));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// The outside call is about to be made.
#[utoipa::path(post, path = "/v1/holds/{id}/dispatch", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn dispatch(
    State(app): State<App>,
    caller: Caller,
    Path(hold): Path<String>,
    _: Nothing,
) -> Answer {
    change(&app, &caller, &hold, |hold| Command::Dispatch { hold, epoch: 0 }, None).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldExtension)]
pub struct Extend {
    #[schema(minimum = 1, maximum = 604_800)]
    seconds: i64,
}

/// Give a hold until so many seconds from now.
#[utoipa::path(post, path = "/v1/holds/{id}/extend", params(("id" = String, Path)), request_body = Extend, responses((status = 200, body = View)))]
pub async fn extend(
    State(app): State<App>,
    caller: Caller,
    Path(hold): Path<String>,
    Json(body): Json<Extend>,
) -> Answer {
    change(&app, &caller, &hold, |hold| Command::Extend { hold, seconds: body.seconds }, None).await
}

#[derive(Deserialize, utoipa::ToSchema, Clone)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldSettlement)]
pub struct Settle {
    /// Units that succeeded; 0 releases.
    #[schema(minimum = 0)]
    quantity: i64,
    /// Units that were tried; the held quantity by default.
    attempted: Option<i64>,
}

/// Charge what succeeded and give the rest back.
#[utoipa::path(post, path = "/v1/holds/{id}/settle", params(("id" = String, Path)), request_body = Settle, responses((status = 200, body = View)))]
pub async fn settle(
    State(app): State<App>,
    caller: Caller,
    Path(hold): Path<String>,
    Json(body): Json<Settle>,
) -> Answer {
    let command = |hold| Command::Settle { hold, quantity: body.quantity, attempted: body.attempted };
    change(&app, &caller, &hold, command, None).await
}

/// Give everything back.
#[utoipa::path(post, path = "/v1/holds/{id}/release", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn release(State(app): State<App>, caller: Caller, Path(hold): Path<String>, _: Nothing) -> Answer {
    change(&app, &caller, &hold, Command::Release, None).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldResolution)]
pub struct Resolve {
    outcome: ResolveOutcome,
    #[schema(max_length = 500)]
    reason: String,
}

#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HoldOutcome)]
pub enum ResolveOutcome {
    Settled,
    Released,
}

/// Decide a hold in doubt.
#[utoipa::path(post, path = "/v1/holds/{id}/resolve", params(("id" = String, Path)), request_body = Resolve, responses((status = 200, body = View)))]
pub async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Path(hold): Path<String>,
    Json(body): Json<Resolve>,
) -> Answer {
    caller.operator()?;
    extract::text("reason", &body.reason, 500)?;
    let outcome = match body.outcome {
        ResolveOutcome::Settled => Outcome::Settled,
        ResolveOutcome::Released => Outcome::Released,
    };
    change(&app, &caller, &hold, |hold| Command::Resolve { hold, outcome }, Some(body.reason)).await
}

async fn change(
    app: &App,
    caller: &Caller,
    hold: &str,
    command: impl FnOnce(Seq) -> Command,
    reason: Option<String>,
) -> Answer {
    let (workspace, hold) = caller.ledger("hold", hold)?;
    let mut post = Post::new(workspace, command(hold), &caller.actor());
    post.reason = reason.map(Arc::from);
    let answer = app.store.post(post).await?;
    if reason_to_look(&answer) {
        app.nudge();
    }
    let hold = answer.hold.ok_or_else(Error::not_found)?;
    let body = view(workspace, &hold, Some(answer.available));
    Ok(with_available(StatusCode::OK, &body, answer.available, Fresh::Yes))
}

fn reason_to_look(answer: &committer::Answer) -> bool {
    answer.hold.as_ref().is_some_and(|hold| hold.epoch > 0)
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldRefund)]
pub struct Refund {
    /// Units; all that are still charged by default.
    #[schema(minimum = 1)]
    quantity: Option<i64>,
    #[schema(max_length = 500)]
    reason: String,
}

/// Give charged units back to the grants they came from.
#[utoipa::path(post, path = "/v1/holds/{id}/refund", params(("id" = String, Path), KeyHeader), request_body = Refund, responses((status = 200, body = View)))]
pub async fn refund(
    State(app): State<App>,
    caller: Caller,
    Path(hold): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Refund>,
) -> Answer {
    caller.operator()?;
    extract::text("reason", &body.reason, 500)?;
    let (workspace, hold) = caller.ledger("hold", &hold)?;
    let mut post = Post::new(workspace, Command::Refund { hold, quantity: body.quantity }, &caller.actor());
    let key = extract::key(KeyKind::Refund, &key, &(hold.0, &body));
    post.key = Some(key.clone());
    post.reason = Some(body.reason.as_str().into());
    let answer = app.store.post(post).await?;
    app.nudge();
    let hold = answer.hold.ok_or_else(Error::not_found)?;
    let body = view(workspace, &hold, Some(answer.available));
    first(&app, workspace, key, &body, answer.replayed.into()).await
}
