//! Webhook endpoints under Account: what is told where, and whether it arrived. For admins.

use std::collections::HashMap;

use axum::extract::{Path, Query, RawForm, State};
use axum::http::StatusCode;

use super::campaigns::{Cursor, ROWS, cut, number};
use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{DeliveryRow, DeliveryWord, Tab, Webhook, WebhookForm, WebhookRow, WebhookState, Webhooks};
use crate::app::App;
use crate::id;
use crate::store::webhooks::{
    DeliveryState, Endpoint, EndpointChange, EndpointState, Kind, Logged, MAX_ENDPOINTS, NewEndpoint,
    event_id,
};
use crate::webhooks::{fresh_secret, shown};

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 200;
const PAGE: &str = "/settings/webhooks";

/// All endpoints, and the form for another.
pub async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.settings()?;
    let kinds = Kind::ALL.iter().map(|kind| (kind.name(), false)).collect();
    all(&app, &visitor, StatusCode::OK, WebhookForm { kinds, ..WebhookForm::default() }).await
}

async fn all(app: &App, visitor: &Visitor, status: StatusCode, form: WebhookForm) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let endpoints = app.store.endpoints(visitor.workspace, None, MAX_ENDPOINTS).await?;
    let rows = endpoints.into_iter().map(|endpoint| row(&scene, endpoint)).collect();
    let form_key = session::form_key();
    html(status, &Webhooks { shell: scene.shell(Some(Tab::Account)), rows, form, form_key })
}

fn row(scene: &Scene, endpoint: Endpoint) -> WebhookRow {
    let names: Vec<&str> = endpoint.kinds.iter().map(|kind| kind.name()).collect();
    WebhookRow {
        id: id::inside("whe", scene.workspace.id, endpoint.id),
        state: match endpoint.state {
            EndpointState::Enabled if endpoint.failing_since.is_some() => WebhookState::Failing,
            EndpointState::Enabled => WebhookState::Enabled,
            EndpointState::Disabled => WebhookState::Disabled,
            EndpointState::GivenUp => WebhookState::GivenUp,
        },
        url: endpoint.url,
        description: endpoint.description,
        events: if names.is_empty() { "all events".to_owned() } else { names.join(", ") },
        failing_since: endpoint.failing_since.map(|since| scene.moment(since)),
    }
}

/// Adds an endpoint, and shows its secret. A form that is sent twice adds one.
pub async fn create(State(app): State<App>, visitor: Visitor, RawForm(form): RawForm) -> Page {
    visitor.settings()?;
    let text = String::from_utf8_lossy(&form);
    let parsed = reqwest::Url::parse(&format!("form:?{text}"))
        .map_err(|_| Trouble::unprocessable("The form is malformed."))?;
    let (mut fields, mut kinds) = (HashMap::new(), Vec::new());
    for (name, value) in parsed.query_pairs() {
        match &*name {
            "event" => kinds.extend(Kind::parse(&value)),
            _ => drop(fields.insert(name.into_owned(), value.trim().to_owned())),
        }
    }
    let mut field = |name: &str| fields.remove(name).unwrap_or_default();
    let (key, url, description) =
        (session::stored_key(&field("form_key"))?, field("url"), field("description"));
    let checked = app.receivers.check(&url);
    let long = description.chars().count() > MAX_DESCRIPTION || description.chars().any(char::is_control);
    let url = match checked {
        Ok(url) if !long => url.into(),
        checked => {
            let wrong_url = checked.err().map(|why| format!("It {why}."));
            let wrong_description =
                long.then(|| "It has at most 200 characters, and none that cannot be seen.".to_owned());
            let kinds = Kind::ALL.iter().map(|kind| (kind.name(), kinds.contains(kind))).collect();
            let form = WebhookForm { url, description, kinds, wrong_url, wrong_description };
            return all(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, form).await;
        }
    };
    if !app.store.first_use(visitor.workspace, key).await? {
        return Ok(go(&app, PAGE, "form-sent"));
    }
    let secret = fresh_secret();
    let made = app
        .store
        .create_endpoint(visitor.workspace, NewEndpoint { url, description, kinds }, secret, visitor.name())
        .await?;
    one(&app, &visitor, made, Some(shown(&secret)), None).await
}

/// One endpoint with its log.
pub async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(endpoint): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Page {
    visitor.settings()?;
    let endpoint = app.store.endpoint(visitor.workspace, number(&visitor, "whe", &endpoint)?).await?;
    one(&app, &visitor, endpoint, None, cursor.number()).await
}

async fn one(
    app: &App,
    visitor: &Visitor,
    endpoint: Endpoint,
    secret: Option<String>,
    before: Option<i64>,
) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let page = (before, ROWS + 1);
    let mut deliveries = app.store.deliveries(visitor.workspace, endpoint.id, None, page).await?;
    let next = cut(&mut deliveries, |row| row.seq);
    draw(&Webhook {
        shell: scene.shell(Some(Tab::Account)),
        endpoint: row(&scene, endpoint),
        secret,
        deliveries: deliveries.into_iter().map(|logged| delivery(&scene, logged)).collect(),
        next,
    })
}

fn delivery(scene: &Scene, logged: Logged) -> DeliveryRow {
    let pending = logged.state == DeliveryState::Pending && logged.attempts > 0;
    let answered = logged.answer.map(|status| format!("answered {status}"));
    let outcome: Vec<String> = answered.into_iter().chain(logged.detail).collect();
    DeliveryRow {
        event: event_id(scene.workspace.id, logged.seq),
        kind: logged.kind,
        at: scene.moment(logged.at),
        state: match logged.state {
            DeliveryState::Pending => DeliveryWord::Pending,
            DeliveryState::Delivered => DeliveryWord::Delivered,
            DeliveryState::Failed => DeliveryWord::Failed,
        },
        attempts: logged.attempts,
        next_attempt: pending.then(|| scene.moment(logged.due_at)),
        outcome: outcome.join(": "),
    }
}

/// What is done to an endpoint.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path((endpoint, act)): Path<(String, String)>,
    axum::extract::Form(form): axum::extract::Form<Event>,
) -> Page {
    visitor.settings()?;
    let (workspace, here) = (visitor.workspace, format!("{PAGE}/{endpoint}"));
    let number = number(&visitor, "whe", &endpoint)?;
    let turn = |state| EndpointChange { state: Some(state), ..EndpointChange::default() };
    match act.as_str() {
        "on" => {
            app.store
                .update_endpoint(workspace, number, turn(EndpointState::Enabled), visitor.name())
                .await?;
            Ok(go(&app, &here, "webhook-on"))
        }
        "off" => {
            app.store
                .update_endpoint(workspace, number, turn(EndpointState::Disabled), visitor.name())
                .await?;
            Ok(go(&app, &here, "webhook-off"))
        }
        "delete" => {
            app.store.delete_endpoint(workspace, number, visitor.name()).await?;
            Ok(go(&app, PAGE, "webhook-deleted"))
        }
        "rotate" => {
            let secret = fresh_secret();
            let rotated = app.store.rotate_endpoint(workspace, number, secret, visitor.name()).await?;
            one(&app, &visitor, rotated, Some(shown(&secret)), None).await
        }
        "retry" => {
            let seq = super::campaigns::number(&visitor, "evt", &form.event)?;
            app.store.retry_delivery(workspace, number, seq).await?;
            app.nudge();
            Ok(go(&app, &here, "webhook-retry"))
        }
        _ => Err(Trouble::not_found()),
    }
}

/// The event that is sent again.
#[derive(serde::Deserialize)]
pub struct Event {
    #[serde(default)]
    event: String,
}
