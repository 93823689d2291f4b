//! Notices, and the thresholds that cause them.

use axum::extract::State;
use axum::http::StatusCode;
use billing::alerts::Threshold;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{self, Items, Json, Nothing, Page, Path, Query};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::alerts::Notice;
use crate::store::codec::threshold;
use crate::store::workspaces::{Workspace, WorkspaceChange};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Notification)]
pub struct View {
    id: String,
    /// `low`, `critical`, `out`, `restored`, `renewal`, `topup`, `payment_failed`, …
    kind: String,
    at: String,
    title: String,
    body: String,
    read: bool,
}

fn view((_, notice): (i64, Notice)) -> View {
    let Notice { id, kind, at, title, body, read } = notice;
    View { id, kind, at: rfc3339(at), title, body, read }
}

/// Notices, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/notifications", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let limit = page.limit()?;
    let rows = app.store.notices(here.workspace, page.cursor()?, limit + 1).await?;
    about(&app, here.workspace, StatusCode::OK, &Items::new(rows, limit, |row| row.0.to_string(), view)).await
}

/// Mark a notice as read.
#[utoipa::path(post, path = "/v1/notifications/{id}/read", params(("id" = String, Path)), responses((status = 200, body = Value)))]
pub async fn read(State(app): State<App>, caller: Caller, Path(notice): Path<String>, _: Nothing) -> Answer {
    let (workspace, number) = caller.inside("ntf", &notice)?;
    app.store.read_notice(workspace, number).await?;
    about(&app, workspace, StatusCode::OK, &json!({ "id": notice, "read": true })).await
}

/// The thresholds of a workspace.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    #[serde(deserialize_with = "extract::object")]
    low: Line,
    #[serde(deserialize_with = "extract::object")]
    critical: Line,
    /// Who gets the e-mails; the workspace's Admins when empty.
    #[serde(default)]
    #[schema(max_items = 20)]
    emails: Vec<String>,
}

/// A threshold: either so many percent, or so many credits.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertThreshold)]
pub struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<i64>,
}

fn line(stored: &str) -> Line {
    match threshold(stored) {
        Threshold::Percent(percent) => Line { percent: Some(percent), credits: None },
        Threshold::Credits(credits) => Line { percent: None, credits: Some(credits) },
    }
}

fn parse(field: &str, line: &Line) -> Result<Threshold, Error> {
    let threshold = match (line.percent, line.credits) {
        (Some(percent), None) => Threshold::Percent(percent),
        (None, Some(credits)) => Threshold::Credits(credits),
        _ => return Err(Error::field(field, "has either percent or credits")),
    };
    match threshold {
        _ if threshold.is_valid() => Ok(threshold),
        Threshold::Percent(_) => {
            Err(Error::field(format!("{field}.percent"), "must be a whole number from 0 to 100"))
        }
        Threshold::Credits(_) => {
            Err(Error::field(format!("{field}.credits"), "must be a whole number, 0 or more"))
        }
    }
}

fn alerts_of(workspace: &Workspace) -> Alerts {
    Alerts {
        low: line(&workspace.low),
        critical: line(&workspace.critical),
        emails: workspace.emails.clone(),
    }
}

/// When the workspace is warned, and who gets the e-mail.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/alerts", params(("ws" = String, Path)), responses((status = 200, body = Alerts)))]
pub async fn alerts(State(app): State<App>, here: In) -> Answer {
    let workspace = app.store.workspace(here.workspace).await?;
    about(&app, here.workspace, StatusCode::OK, &alerts_of(&workspace)).await
}

/// Change when the workspace is warned.
#[utoipa::path(put, path = "/v1/workspaces/{ws}/alerts", params(("ws" = String, Path)), request_body = Alerts, responses((status = 200, body = Alerts)))]
pub async fn set_alerts(State(app): State<App>, here: In, Json(body): Json<Alerts>) -> Answer {
    let (low, critical) = (parse("low", &body.low)?, parse("critical", &body.critical)?);
    if body.emails.len() > 20 {
        return Err(Error::field("emails", "has at most 20 addresses"));
    }
    for (index, address) in body.emails.iter().enumerate() {
        extract::email(&format!("emails[{index}]"), address)?;
    }
    let (low, critical, emails) = (Some(low), Some(critical), Some(body.emails));
    let change = WorkspaceChange { low, critical, emails, ..WorkspaceChange::default() };
    let workspace = app.store.update_workspace(here.workspace, change, here.caller.actor()).await?;
    app.nudge();
    about(&app, here.workspace, StatusCode::OK, &alerts_of(&workspace)).await
}
