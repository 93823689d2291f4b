//! The HTTP API: every route in one visible list, one file per resource.
//!
//! Owns the router, the OpenAPI document and what all answers share. It never sees SQL and never imports `pages`.

pub mod around;
pub mod caller;
pub mod error;
pub mod extract;
pub mod shortcut;

mod auto_topup;
mod batch;
mod budgets;
mod calls;
mod campaigns;
mod credits;
mod embed;
mod entries;
mod finance;
mod grants;
mod holds;
mod keys;
mod leads;
mod margin;
mod messages;
mod money;
mod notices;
mod searches;
mod senders;
mod strategy;
mod stripe;
mod subscription;
mod system;
mod usage;
mod webhooks;
mod workspaces;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::store::committer::Key;
use crate::store::people::Scope;
use error::Error;

/// What a handler answers.
pub type Answer = Result<Response, Error>;

#[derive(OpenApi)]
#[openapi(info(
    title = "Scrip",
    description = "Credits and billing for products that spend money on their customers' behalf."
))]
struct Document;

/// Every route of the API, and the document generated from them. What a key needs for a route stands here as well: `read` for what is
/// asked with GET, what the groups below say, and `manage` for the rest.
pub fn router() -> (axum::Router<App>, utoipa::openapi::OpenApi) {
    let (router, document) = OpenApiRouter::<App>::with_openapi(Document::openapi())
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
        .routes(routes!(system::catalog))
        .routes(routes!(system::advance))
        .routes(routes!(stripe::events))
        .routes(routes!(workspaces::create, workspaces::list))
        .routes(routes!(workspaces::get, workspaces::update))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::delete))
        .routes(routes!(credits::balance))
        .routes(routes!(credits::events))
        .routes(routes!(grants::create))
        .routes(routes!(grants::revoke))
        .routes(routes!(grants::adjust))
        .routes(routes!(holds::resolve))
        .routes(routes!(holds::refund))
        .routes(routes!(entries::list))
        .routes(routes!(entries::csv))
        .routes(routes!(usage::get))
        .routes(routes!(usage::csv))
        .routes(routes!(notices::list))
        .routes(routes!(notices::read))
        .routes(routes!(notices::alerts, notices::set_alerts))
        .routes(routes!(strategy::get, strategy::set))
        .merge(that_asks())
        .merge(that_charges())
        .merge(about_money())
        .merge(about_hosts())
        .routes(routes!(leads::create, leads::list))
        .routes(routes!(leads::get))
        .routes(routes!(leads::replied))
        .routes(routes!(calls::list))
        .routes(routes!(leads::blocklist, leads::block, leads::unblock))
        .routes(routes!(searches::preview))
        .routes(routes!(searches::create, searches::list))
        .routes(routes!(searches::get))
        .routes(routes!(searches::cancel))
        .routes(routes!(searches::resume))
        .routes(routes!(searches::enrich, searches::enrichments))
        .routes(routes!(searches::enrichment))
        .routes(routes!(searches::cancel_enrichment))
        .routes(routes!(searches::resume_enrichment))
        .routes(routes!(messages::create, messages::list))
        .routes(routes!(messages::get, messages::update))
        .routes(routes!(messages::regenerate))
        .routes(routes!(messages::approve))
        .routes(routes!(senders::create, senders::list))
        .routes(routes!(senders::update))
        .routes(routes!(campaigns::create, campaigns::list))
        .routes(routes!(campaigns::get, campaigns::update))
        .routes(routes!(campaigns::add_leads, campaigns::leads))
        .routes(routes!(campaigns::launch))
        .routes(routes!(campaigns::pause))
        .routes(routes!(campaigns::resume))
        .split_for_parts();
    let document = around::finished(document);
    let queries = Arc::new(around::Queries::of(&document));
    let checked = move |matched: MatchedPath, request: Request, next: Next| {
        let queries = queries.clone();
        async move {
            queries.check(request.method(), matched.as_str(), request.uri().query())?;
            Ok::<_, Error>(next.run(request).await)
        }
    };
    (router.route_layer(from_fn(checked)).method_not_allowed_fallback(wrong_method), document)
}

/// What asks with a body and changes nothing: a key that may read may do it.
fn that_asks() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(credits::estimate))
        .routes(routes!(subscription::preview))
        .layer(Extension(Scope::Read))
}

/// What charges for a host product's own calls: a key that may do more is not needed.
fn that_charges() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(holds::create, holds::list))
        .routes(routes!(holds::get))
        .routes(routes!(holds::dispatch))
        .routes(routes!(holds::extend))
        .routes(routes!(holds::settle))
        .routes(routes!(holds::release))
        .routes(routes!(holds::charge))
        .routes(routes!(batch::post))
        .layer(Extension(Scope::Charge))
}

/// The routes about money and what leads to it.
fn about_money() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(money::create, money::list))
        .routes(routes!(money::get))
        .routes(routes!(money::refund))
        .routes(routes!(money::sandbox))
        .routes(routes!(money::portal))
        .routes(routes!(finance::payments))
        .routes(routes!(finance::payments_csv))
        .routes(routes!(finance::grants_csv))
        .routes(routes!(margin::get))
        .routes(routes!(auto_topup::get, auto_topup::put))
        .routes(routes!(budgets::get, budgets::put))
        .routes(routes!(subscription::get, subscription::put))
        .routes(routes!(subscription::cancel))
        .routes(routes!(subscription::resume))
}

/// The routes of what a host product builds on.
fn about_hosts() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(embed::create, embed::list))
        .routes(routes!(embed::delete))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::retry))
}

pub async fn wrong_method() -> Error {
    let detail = "this address takes another kind of request";
    Error::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// A JSON answer about a workspace, with what it can spend now.
pub async fn about<T: Serialize>(app: &App, workspace: i64, status: StatusCode, body: &T) -> Answer {
    let available = app.store.available(workspace).await?;
    Ok(with_available(status, body, available, Fresh::Yes))
}

/// Whether an answer is given for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Fresh {
    Yes,
    Replayed,
}

impl From<bool> for Fresh {
    fn from(replayed: bool) -> Fresh {
        if replayed { Fresh::Replayed } else { Fresh::Yes }
    }
}

/// A JSON answer with the headers that go with it.
pub fn with_available<T: Serialize>(status: StatusCode, body: &T, available: i64, fresh: Fresh) -> Response {
    headed(json(status, body), available, fresh)
}

/// The answer to a deletion.
async fn no_content(app: &App, workspace: i64) -> Answer {
    let available = app.store.available(workspace).await?;
    Ok(headed(StatusCode::NO_CONTENT.into_response(), available, Fresh::Yes))
}

fn headed(mut response: Response, available: i64, fresh: Fresh) -> Response {
    let headers = response.headers_mut();
    headers.insert(around::AVAILABLE, HeaderValue::from(available));
    if fresh == Fresh::Replayed {
        headers.insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    response
}

/// What was answered first under a key, however it stands today, and what is available now.
async fn first<T: Serialize>(app: &App, workspace: i64, key: Key, body: &T, fresh: Fresh) -> Answer {
    let mut bytes = Vec::new();
    write(&mut bytes, body)?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let body = app.store.first_answer(workspace, key, body).await?;
    let available = app.store.available(workspace).await?;
    Ok(headed(json_bytes(StatusCode::OK, body.into_bytes()), available, fresh))
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    // Most answers fit, so their buffer does not grow.
    let mut bytes = Vec::with_capacity(1_024);
    match write(&mut bytes, body) {
        Ok(()) => json_bytes(status, bytes),
        Err(error) => error.into_response(),
    }
}

/// Writes JSON behind what is there.
pub fn write<T: Serialize>(bytes: &mut Vec<u8>, body: &T) -> Result<(), Error> {
    serde_json::to_writer(bytes, body).map_err(|error| {
        tracing::error!(%error, "an answer could not be written");
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the answer could not be written")
    })
}

/// A JSON answer that is written already.
pub fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A CSV answer under a file name.
pub fn csv_file(name: &str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}
