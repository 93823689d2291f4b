//! Top-ups and the links that let people in.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{self, IdempotencyKey, Items, Json, KeyHeader, Page, Path, Query};
use super::{Answer, about, first, with_available};
use crate::app::{App, LINK_SECONDS, Link, LinkRole};
use crate::catalog::Price;
use crate::clock::rfc3339;
use crate::finance;
use crate::id;
use crate::money;
use crate::payments::Payments;
use crate::payments::sandbox::Card;
use crate::store::committer::KeyKind;
use crate::store::payments::{Payment, Purpose, Status};

/// What the lists of top-ups show.
const BOUGHT: &[Purpose] = &[Purpose::TopUp, Purpose::AutoBuy];

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTopUp)]
pub struct Create {
    pack: Option<String>,
    /// An amount without a pack, where the catalog sells such.
    credits: Option<i64>,
    /// Where the checkout leads back to.
    #[schema(max_length = 2000)]
    return_url: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TopUp)]
pub struct View {
    id: String,
    /// `pending`, `paid`, `declined`, `expired` or `refunded`.
    status: &'static str,
    /// Empty for an amount without a pack.
    pack: String,
    credits: i64,
    /// Credits on top.
    bonus: i64,
    /// All that is paid, tax included.
    price: Price,
    /// Minor units of tax in the price.
    tax: i64,
    /// Whether nobody asked for it but auto-buy.
    automatic: bool,
    checkout_url: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    refunded_credits: i64,
}

fn view(app: &App, topup: &Payment) -> View {
    let (order, name) = (&topup.order, topup.name());
    View {
        status: status_name(topup.status),
        pack: order.item.clone(),
        credits: order.credits,
        bonus: order.bonus,
        tax: order.tax,
        automatic: order.purpose == Purpose::AutoBuy,
        price: Price { amount: order.amount, currency: order.currency.clone() },
        checkout_url: topup.checkout_url.clone().unwrap_or_else(|| app.checkout_link(&name)),
        created_at: rfc3339(topup.created_at),
        grant: topup.grant.map(|grant| id::inside("grant", order.workspace, grant)),
        refunded_credits: topup.taken,
        id: name,
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Processing => "pending",
        other => finance::status(other),
    }
}

/// A top-up of this workspace; other payments are none.
async fn find(app: &App, workspace: i64, number: i64) -> Result<Payment, Error> {
    let payment = app.store.payment(workspace, number).await?;
    let bought = matches!(payment.order.purpose, Purpose::TopUp | Purpose::AutoBuy);
    if bought { Ok(payment) } else { Err(Error::not_found()) }
}

/// Order credits; they come when the checkout is paid.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/topups", params(("ws" = String, Path), KeyHeader), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Create>,
) -> Answer {
    money::provider(&app)?;
    return_url(body.return_url.as_deref())?;
    let (catalog, back) = (app.catalog(), body.return_url.clone());
    let new = match (&body.pack, body.credits) {
        (Some(pack), None) => {
            let unknown = || Error::field("pack", "the catalog has no such pack").code("unknown_pack");
            let pack = catalog.pack(pack).ok_or_else(unknown)?;
            money::pack(catalog, here.workspace, Purpose::TopUp, pack, back)
        }
        (None, Some(credits)) => money::custom(catalog, here.workspace, credits, back)
            .map_err(|problem| Error::field("credits", problem))?,
        _ => return Err(Error::field("pack", "name a pack, or credits").code("missing_field")),
    };
    let (topup, replayed) = money::order(&app, new, extract::key(KeyKind::TopUp, &key, &body)).await?;
    // The first answer again, whatever has happened to it since.
    let first = Payment { status: Status::Pending, grant: None, taken: 0, ..topup };
    let available = app.store.available(here.workspace).await?;
    Ok(with_available(StatusCode::CREATED, &view(&app, &first), available, replayed.into()))
}

pub fn return_url(url: Option<&str>) -> Result<(), Error> {
    let Some(url) = url else { return Ok(()) };
    let fine = url.len() <= 2_000
        && reqwest::Url::parse(url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fine { Ok(()) } else { Err(Error::field("return_url", "must be an http or https address")) }
}

/// Top-ups, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/topups", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let limit = page.limit()?;
    let rows = app.store.payments(here.workspace, BOUGHT, page.cursor()?, limit + 1).await?;
    let items = Items::new(rows, limit, |row| row.id.to_string(), |row| view(&app, &row));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// One top-up.
#[utoipa::path(get, path = "/v1/topups/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(topup): Path<String>) -> Answer {
    let (workspace, number) = caller.inside("topup", &topup)?;
    let topup = find(&app, workspace, number).await?;
    about(&app, workspace, StatusCode::OK, &view(&app, &topup)).await
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TopUpRefund)]
pub struct Refund {
    /// All that is not refunded yet by default.
    #[schema(minimum = 1)]
    credits: Option<i64>,
    #[schema(max_length = 500)]
    reason: String,
}

/// Take a refunded payment's credits back.
#[utoipa::path(post, path = "/v1/topups/{id}/refund", params(("id" = String, Path), KeyHeader), request_body = Refund, responses((status = 200, body = View)))]
pub async fn refund(
    State(app): State<App>,
    caller: Caller,
    Path(topup): Path<String>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Refund>,
) -> Answer {
    caller.operator()?;
    extract::text("reason", &body.reason, 500)?;
    // A period or an upgrade is given back like a top-up.
    let (workspace, number) = caller.inside("topup", &topup).or_else(|_| caller.inside("pay", &topup))?;
    let key = extract::key(KeyKind::TopUpRefund, &key, &(number, &body));
    let which = (workspace, number);
    let (topup, replayed) = money::refund(&app, which, body.credits, body.reason, key.clone()).await?;
    first(&app, workspace, key, &view(&app, &topup), replayed.into()).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SandboxPayment)]
pub struct Sandbox {
    outcome: SandboxOutcome,
}

#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxOutcome {
    Paid,
    Declined,
}

/// What the sandbox's checkout page does, for scripts.
#[utoipa::path(post, path = "/v1/sandbox/topups/{id}", params(("id" = String, Path)), request_body = Sandbox, responses((status = 200, body = View)))]
pub async fn sandbox(
    State(app): State<App>,
    caller: Caller,
    Path(topup): Path<String>,
    Json(body): Json<Sandbox>,
) -> Answer {
    caller.operator()?;
    if !matches!(money::provider(&app)?, Payments::Sandbox) {
        return Err(Error::not_found());
    }
    // A period or an upgrade is paid in the same way.
    let (workspace, number) = caller.inside("topup", &topup).or_else(|_| caller.inside("pay", &topup))?;
    let card = match body.outcome {
        SandboxOutcome::Paid => Card::Pays,
        SandboxOutcome::Declined => Card::Declined,
    };
    let topup = money::pay_in_sandbox(&app, (workspace, number), card).await?;
    app.nudge();
    about(&app, workspace, StatusCode::OK, &view(&app, &topup)).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPortalSession)]
pub struct Portal {
    role: PortalRole,
    member_email: Option<String>,
    return_url: Option<String>,
}

#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortalRole {
    Admin,
    Member,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PortalSession)]
pub struct PortalLink {
    url: String,
    expires_at: String,
}

/// A signed link into the dashboard, for 15 minutes.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/portal_sessions", params(("ws" = String, Path)), request_body = Portal, responses((status = 201, body = PortalLink)))]
pub async fn portal(State(app): State<App>, here: In, Json(body): Json<Portal>) -> Answer {
    if let Some(address) = &body.member_email {
        extract::email("member_email", address)?;
    }
    return_url(body.return_url.as_deref())?;
    app.store.workspace(here.workspace).await?;
    let role = match body.role {
        PortalRole::Admin => LinkRole::Admin,
        PortalRole::Member => LinkRole::Member,
    };
    let expires_at = app.clock.now().plus_seconds(LINK_SECONDS);
    let (workspace, email) = (Some(here.workspace), body.member_email);
    let link = Link { workspace, role, email, return_url: body.return_url, expires_at: expires_at.0 };
    let link = PortalLink { url: app.portal_link(&link), expires_at: rfc3339(expires_at) };
    about(&app, here.workspace, StatusCode::CREATED, &link).await
}
