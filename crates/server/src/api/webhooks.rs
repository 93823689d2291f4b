//! Webhook endpoints: where a host product is told of what happens, and the log of what it was told.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, Items, Json, Nothing, Page, Path, Query};
use super::{Answer, about, no_content};
use crate::app::App;
use crate::clock::rfc3339;
use crate::id;
use crate::store::webhooks::{
    DeliveryState, Endpoint, EndpointChange, EndpointState, Kind, Logged, NewEndpoint, event_id,
};
use crate::webhooks::{fresh_secret, shown};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookEndpoint)]
pub struct View {
    id: String,
    url: String,
    description: String,
    /// The events it is told of; empty: all.
    events: Vec<&'static str>,
    enabled: bool,
    /// `enabled`, `failing` (it takes nothing now and is tried again), `disabled`, or `given_up`: turned off because it took
    /// nothing for days.
    status: &'static str,
    failing_since: Option<String>,
    created_at: String,
    /// What events are signed with. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

fn view(workspace: i64, endpoint: Endpoint) -> View {
    View {
        id: id::inside("whe", workspace, endpoint.id),
        status: match endpoint.state {
            EndpointState::Enabled if endpoint.failing_since.is_some() => "failing",
            EndpointState::Enabled => "enabled",
            EndpointState::Disabled => "disabled",
            EndpointState::GivenUp => "given_up",
        },
        enabled: endpoint.state == EndpointState::Enabled,
        url: endpoint.url,
        description: endpoint.description,
        events: endpoint.kinds.iter().map(|kind| kind.name()).collect(),
        failing_since: endpoint.failing_since.map(rfc3339),
        created_at: rfc3339(endpoint.created_at),
        secret: None,
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhookEndpoint)]
pub struct Create {
    #[schema(max_length = 2000)]
    url: String,
    /// All events when left out or empty.
    #[serde(default)]
    events: Vec<String>,
    #[schema(max_length = 200)]
    description: Option<String>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookEndpointChange)]
pub struct Change {
    #[schema(max_length = 2000)]
    url: Option<String>,
    events: Option<Vec<String>>,
    #[schema(max_length = 200)]
    description: Option<String>,
    enabled: Option<bool>,
}

/// The normal form of an address that events may be sent to.
fn address(app: &App, url: &str) -> Result<String, Error> {
    app.receivers.check(url).map(Into::into).map_err(|why| Error::field("url", why))
}

fn kinds(names: &[String]) -> Result<Vec<Kind>, Error> {
    let mut kinds = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let kind = Kind::parse(name)
            .ok_or_else(|| Error::field(format!("events[{index}]"), "there is no such event"))?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

fn number(here: &In, text: &str) -> Result<i64, Error> {
    let (workspace, number) = here.caller.inside("whe", text)?;
    if workspace == here.workspace { Ok(number) } else { Err(Error::not_found()) }
}

/// Make a webhook endpoint; what it is told is signed as Standard Webhooks has it. The secret is shown once.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/webhook_endpoints", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    extract::optional_text("description", body.description.as_deref(), 200)?;
    let new = NewEndpoint {
        url: address(&app, &body.url)?,
        description: body.description.unwrap_or_default(),
        kinds: kinds(&body.events)?,
    };
    let secret = fresh_secret();
    let made = app.store.create_endpoint(here.workspace, new, secret, here.caller.actor()).await?;
    let made = View { secret: Some(shown(&secret)), ..view(here.workspace, made) };
    about(&app, here.workspace, StatusCode::CREATED, &made).await
}

/// The webhook endpoints of a workspace, newest first, without their secrets.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/webhook_endpoints", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let rows = app.store.endpoints(here.workspace, cursor, limit + 1).await?;
    let items = Items::new(rows, limit, |row| row.id.to_string(), |row| view(here.workspace, row));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// One webhook endpoint.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}", params(("ws" = String, Path), ("endpoint" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, here: In, Path((_, endpoint)): Path<(String, String)>) -> Answer {
    let found = app.store.endpoint(here.workspace, number(&here, &endpoint)?).await?;
    about(&app, here.workspace, StatusCode::OK, &view(here.workspace, found)).await
}

/// Change a webhook endpoint, turn it off, or on again.
#[utoipa::path(patch, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}", params(("ws" = String, Path), ("endpoint" = String, Path)), request_body = Change, responses((status = 200, body = View)))]
pub async fn update(
    State(app): State<App>,
    here: In,
    Path((_, endpoint)): Path<(String, String)>,
    Json(body): Json<Change>,
) -> Answer {
    let number = number(&here, &endpoint)?;
    extract::optional_text("description", body.description.as_deref(), 200)?;
    let change = EndpointChange {
        url: body.url.as_deref().map(|url| address(&app, url)).transpose()?,
        description: body.description,
        kinds: body.events.as_deref().map(kinds).transpose()?,
        state: body.enabled.map(|on| if on { EndpointState::Enabled } else { EndpointState::Disabled }),
    };
    let changed = app.store.update_endpoint(here.workspace, number, change, here.caller.actor()).await?;
    about(&app, here.workspace, StatusCode::OK, &view(here.workspace, changed)).await
}

/// Delete a webhook endpoint with its log.
#[utoipa::path(delete, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}", params(("ws" = String, Path), ("endpoint" = String, Path)), responses((status = 204)))]
pub async fn delete(State(app): State<App>, here: In, Path((_, endpoint)): Path<(String, String)>) -> Answer {
    app.store.delete_endpoint(here.workspace, number(&here, &endpoint)?, here.caller.actor()).await?;
    no_content(&app, here.workspace).await
}

/// Replace an endpoint's secret. The new one is shown once; the one before signs beside it for another day.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}/rotate", params(("ws" = String, Path), ("endpoint" = String, Path)), responses((status = 200, body = View)))]
pub async fn rotate(
    State(app): State<App>,
    here: In,
    Path((_, endpoint)): Path<(String, String)>,
    _: Nothing,
) -> Answer {
    let secret = fresh_secret();
    let rotated = app
        .store
        .rotate_endpoint(here.workspace, number(&here, &endpoint)?, secret, here.caller.actor())
        .await?;
    let rotated = View { secret: Some(shown(&secret)), ..view(here.workspace, rotated) };
    about(&app, here.workspace, StatusCode::OK, &rotated).await
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryView {
    /// The event's id, which every attempt carries as `webhook-id`.
    event: String,
    seq: i64,
    r#type: String,
    created_at: String,
    /// `pending`, `delivered` or `failed`.
    status: &'static str,
    attempts: i64,
    attempted_at: Option<String>,
    next_attempt_at: Option<String>,
    /// The status that the last attempt was answered with.
    answer: Option<i64>,
    detail: Option<String>,
}

fn delivery(workspace: i64, logged: Logged) -> DeliveryView {
    let pending = logged.state == DeliveryState::Pending;
    DeliveryView {
        event: event_id(workspace, logged.seq),
        seq: logged.seq,
        r#type: logged.kind,
        created_at: rfc3339(logged.at),
        status: match logged.state {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        },
        attempts: logged.attempts,
        attempted_at: logged.attempted_at.map(rfc3339),
        next_attempt_at: pending.then(|| rfc3339(logged.due_at)),
        answer: logged.answer,
        detail: logged.detail,
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Log {
    /// Only deliveries that stand like this.
    #[param(inline)]
    status: Option<DeliveryStatus>,
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    cursor: Option<String>,
}

#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
}

/// What an endpoint was told in the last 90 days, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}/deliveries", params(("ws" = String, Path), ("endpoint" = String, Path), Log), responses((status = 200, body = Items<DeliveryView>)))]
pub async fn deliveries(
    State(app): State<App>,
    here: In,
    Path((_, endpoint)): Path<(String, String)>,
    Query(log): Query<Log>,
) -> Answer {
    let endpoint = number(&here, &endpoint)?;
    let page = Page { limit: log.limit, cursor: log.cursor };
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let state = log.status.map(|status| match status {
        DeliveryStatus::Pending => DeliveryState::Pending,
        DeliveryStatus::Delivered => DeliveryState::Delivered,
        DeliveryStatus::Failed => DeliveryState::Failed,
    });
    app.store.endpoint(here.workspace, endpoint).await?;
    let rows = app.store.deliveries(here.workspace, endpoint, state, (cursor, limit + 1)).await?;
    let show = |row| delivery(here.workspace, row);
    about(&app, here.workspace, StatusCode::OK, &Items::new(rows, limit, |row| row.seq.to_string(), show))
        .await
}

/// Send an event to an endpoint again, whatever became of it.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/webhook_endpoints/{endpoint}/deliveries/{event}/retry", params(("ws" = String, Path), ("endpoint" = String, Path), ("event" = String, Path)), responses((status = 200, body = DeliveryView)))]
pub async fn retry(
    State(app): State<App>,
    here: In,
    Path((_, endpoint, event)): Path<(String, String, String)>,
    _: Nothing,
) -> Answer {
    let endpoint = number(&here, &endpoint)?;
    let (workspace, seq) = here.caller.inside("evt", &event)?;
    if workspace != here.workspace {
        return Err(Error::not_found());
    }
    let again = app.store.retry_delivery(workspace, endpoint, seq).await?;
    app.nudge();
    about(&app, workspace, StatusCode::OK, &delivery(workspace, again)).await
}
