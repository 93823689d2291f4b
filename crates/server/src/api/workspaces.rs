//! Workspaces.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{self, Items, Json, Page, Query};
use super::{Answer, about, json};
use crate::app::App;
use crate::calendar;
use crate::clock::rfc3339;
use crate::id;
use crate::money;
use crate::store::subscriptions::Terms;
use crate::store::workspaces::{NewWorkspace, Workspace, WorkspaceChange};

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWorkspace)]
pub struct Create {
    #[schema(max_length = 200)]
    name: String,
    plan: Option<String>,
    collection: Option<Collection>,
    /// An IANA time zone; UTC by default.
    time_zone: Option<String>,
    admin_email: Option<String>,
    #[schema(max_length = 200)]
    external_id: Option<String>,
}

/// Who collects the money for a plan.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    None,
    Payments,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Workspace)]
pub struct View {
    id: String,
    name: String,
    plan: Option<String>,
    collection: String,
    time_zone: String,
    admin_email: Option<String>,
    external_id: Option<String>,
    created_at: String,
    renews_at: Option<String>,
}

fn view(workspace: Workspace) -> View {
    let renews_at = workspace.renews_at().map(rfc3339);
    View {
        id: id::workspace(workspace.id),
        name: workspace.name,
        plan: workspace.plan,
        collection: workspace.collection,
        time_zone: workspace.time_zone,
        admin_email: workspace.admin_email,
        external_id: workspace.external_id,
        created_at: rfc3339(workspace.created_at),
        renews_at,
    }
}

/// Make a workspace.
#[utoipa::path(post, path = "/v1/workspaces", request_body = Create, responses((status = 201, body = View), (status = 200, body = View)))]
pub async fn create(State(app): State<App>, caller: Caller, Json(body): Json<Create>) -> Answer {
    caller.operator()?;
    check(Some(&body.name), body.time_zone.as_deref(), body.admin_email.as_deref())?;
    if let Some(external_id) = &body.external_id {
        extract::text("external_id", external_id, 200)?;
    }
    let terms = body.plan.as_deref().map(|plan| known_plan(&app, plan)).transpose()?;
    let request = serde_json::to_string(&body).unwrap_or_default();
    let collection = body.collection.unwrap_or(Collection::None);
    let new = NewWorkspace {
        name: body.name,
        terms,
        collection: if collection == Collection::None { "none" } else { "payments" }.to_owned(),
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        admin_email: body.admin_email,
        external_id: body.external_id,
        request,
    };
    let (workspace, created) = app.store.create_workspace(new).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    about(&app, workspace.id, status, &view(workspace)).await
}

/// A plan of today's price list.
pub fn known_plan(app: &App, plan: &str) -> Result<Terms, Error> {
    money::terms(app.catalog(), plan)
        .ok_or_else(|| Error::field("plan", "the catalog has no such plan").code("unknown_plan"))
}

/// What is given of a workspace. What one field must be does not depend on another.
fn check(name: Option<&str>, time_zone: Option<&str>, admin_email: Option<&str>) -> Result<(), Error> {
    if let Some(name) = name {
        extract::text("name", name, 200)?;
    }
    if let Some(zone) = time_zone
        && !calendar::zone_exists(zone)
    {
        return Err(Error::field("time_zone", "must be an IANA time zone such as Europe/Berlin"));
    }
    if let Some(address) = admin_email {
        extract::email("admin_email", address)?;
    }
    Ok(())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    external_id: Option<String>,
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Workspaces, newest first, or the one with an external id. A workspace's key sees its own.
#[utoipa::path(get, path = "/v1/workspaces", params(Listing), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, caller: Caller, Query(query): Query<Listing>) -> Answer {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let rows = match caller {
        Caller::Operator => app.store.workspaces(query.external_id, cursor, limit + 1).await?,
        Caller::Key { workspace, .. } => {
            let own = app.store.workspace(workspace).await?;
            let asked =
                query.external_id.is_none_or(|external_id| own.external_id.as_ref() == Some(&external_id));
            if asked { vec![own] } else { Vec::new() }
        }
    };
    Ok(json(StatusCode::OK, &Items::new(rows, limit, |row| row.id.to_string(), view)))
}

/// One workspace.
#[utoipa::path(get, path = "/v1/workspaces/{ws}", params(("ws" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, here: In) -> Answer {
    let workspace = app.store.workspace(here.workspace).await?;
    about(&app, here.workspace, StatusCode::OK, &view(workspace)).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkspaceUpdate)]
pub struct Update {
    name: Option<String>,
    time_zone: Option<String>,
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    admin_email: Option<Option<String>>,
}

/// Change a workspace's settings.
#[utoipa::path(patch, path = "/v1/workspaces/{ws}", params(("ws" = String, Path)), request_body = Update, responses((status = 200, body = View)))]
pub async fn update(State(app): State<App>, here: In, Json(body): Json<Update>) -> Answer {
    here.caller.operator()?;
    let Update { name, time_zone, admin_email } = body;
    check(name.as_deref(), time_zone.as_deref(), admin_email.as_ref().and_then(Option::as_deref))?;
    let change = WorkspaceChange { name, time_zone, admin_email, ..WorkspaceChange::default() };
    let workspace = app.store.update_workspace(here.workspace, change, here.caller.actor()).await?;
    about(&app, here.workspace, StatusCode::OK, &view(workspace)).await
}
