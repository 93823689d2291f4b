//! Messages written for a lead's step on request, before it falls due.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{self, Items, Json, Nothing, Path, Query};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::messages::{Message, MessageFilter, Place, Writing};
use crate::{id, outreach};

/// The longest text that is sent here, in characters: an e-mail's.
const MAX_TEXT: usize = 10_000;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMessage)]
pub struct Create {
    lead: String,
    campaign: String,
    /// The step's index, from 0.
    #[schema(minimum = 0)]
    step: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
pub struct View {
    id: String,
    lead: String,
    campaign: String,
    step: i64,
    text: String,
    /// What its present text cost.
    credits: i64,
    /// `sent`, `skipped`, `failed` or `in_doubt` once its step has ended; before that `awaiting_approval` while its lead waits for
    /// a person, `approved`, or `written`.
    state: &'static str,
    created_at: String,
    /// When its present text came to be.
    changed_at: String,
    /// When a person changed it; null: its text is as it was written.
    edited_at: Option<String>,
    approved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
}

fn view(workspace: i64, message: Message) -> View {
    let state = match message.outcome {
        Some(0) => "sent",
        Some(1) => "skipped",
        Some(2) => "failed",
        Some(_) => "in_doubt",
        None if message.awaited => "awaiting_approval",
        None if message.approved_at.is_some() => "approved",
        None => "written",
    };
    View {
        id: id::inside("msg", workspace, message.id),
        lead: id::inside("lead", workspace, message.lead),
        campaign: id::inside("camp", workspace, message.job),
        step: message.step,
        text: message.text,
        credits: message.credits,
        state,
        created_at: rfc3339(message.created_at),
        changed_at: rfc3339(message.changed_at),
        edited_at: message.edited_at.map(rfc3339),
        approved_at: message.approved_at.map(rfc3339),
        approved_by: message.approved_by,
    }
}

/// Write the message of a step for a lead now. Charged when it is stored.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/messages", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    let job = inside(here.workspace, "camp", "campaign", &body.campaign)?;
    let lead = inside(here.workspace, "lead", "lead", &body.lead)?;
    let step = usize::try_from(body.step).map_err(|_| Error::field("step", "must be 0 or more"))?;
    let (place, actor) = (Place { job, lead, step }, here.caller.actor());
    let message = outreach::write_message(&app, &actor, here.workspace, place, Writing::First).await?;
    about(&app, here.workspace, StatusCode::CREATED, &view(here.workspace, message)).await
}

/// The number of a thing of this workspace that a body or a query names.
fn inside(workspace: i64, prefix: &str, field: &str, text: &str) -> Result<i64, Error> {
    let parsed = id::parse_inside(prefix, text).filter(|(owner, _)| *owner == workspace);
    parsed
        .map(|(_, number)| number)
        .ok_or_else(|| Error::field(field, format!("there is no such {field} here")))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    campaign: Option<String>,
    lead: Option<String>,
    /// `awaiting_approval`: only those whose lead waits for a person.
    state: Option<String>,
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Messages, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/messages", params(("ws" = String, Path), Listing), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(query): Query<Listing>) -> Answer {
    let (limit, cursor) =
        (extract::page_size(query.limit)?, extract::number_cursor(query.cursor.as_deref())?);
    let named = |prefix, field, text: Option<String>| {
        text.map(|text| inside(here.workspace, prefix, field, &text)).transpose()
    };
    let filter = MessageFilter {
        job: named("camp", "campaign", query.campaign)?,
        lead: named("lead", "lead", query.lead)?,
        awaited: match query.state.as_deref() {
            None => false,
            Some("awaiting_approval") => true,
            Some(_) => return Err(Error::field("state", "must be awaiting_approval, or left out")),
        },
    };
    let rows = app.store.messages(here.workspace, filter, cursor, limit + 1).await?;
    let items =
        Items::new(rows, limit, |message| message.id.to_string(), |message| view(here.workspace, message));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// One message.
#[utoipa::path(get, path = "/v1/messages/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(message): Path<String>) -> Answer {
    let (workspace, number) = caller.inside("msg", &message)?;
    let message = app.store.message(workspace, number).await?;
    about(&app, workspace, StatusCode::OK, &view(workspace, message)).await
}

/// Write a message again, before its step is sent. Its text is replaced, and charged, only when a new one is there.
#[utoipa::path(post, path = "/v1/messages/{id}/regenerate", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn regenerate(
    State(app): State<App>,
    caller: Caller,
    Path(message): Path<String>,
    _: Nothing,
) -> Answer {
    let (workspace, number) = caller.inside("msg", &message)?;
    let old = app.store.message(workspace, number).await?;
    let place = Place { job: old.job, lead: old.lead, step: usize::try_from(old.step).unwrap_or_default() };
    let message = outreach::write_message(&app, &caller.actor(), workspace, place, Writing::Again).await?;
    about(&app, workspace, StatusCode::OK, &view(workspace, message)).await
}

/// Approve a message: it goes out when its step is due. Free; approving it again changes nothing.
#[utoipa::path(post, path = "/v1/messages/{id}/approve", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn approve(
    State(app): State<App>,
    caller: Caller,
    Path(message): Path<String>,
    _: Nothing,
) -> Answer {
    let (workspace, number) = caller.inside("msg", &message)?;
    let message = app.store.approve_message(workspace, number, &caller.actor()).await?;
    app.nudge();
    about(&app, workspace, StatusCode::OK, &view(workspace, message)).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MessageUpdate)]
pub struct Update {
    /// At most 10,000 characters of an e-mail, 8,000 of a LinkedIn message, 300 of an invitation.
    #[schema(max_length = 10_000)]
    text: String,
}

/// Change a message by hand, before its step is sent. Free. Where messages are approved, the new text is to be approved.
#[utoipa::path(patch, path = "/v1/messages/{id}", params(("id" = String, Path)), request_body = Update, responses((status = 200, body = View)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(message): Path<String>,
    Json(body): Json<Update>,
) -> Answer {
    let (workspace, number) = caller.inside("msg", &message)?;
    // As it was sent: what is not shown counts too.
    if body.text.chars().count() > MAX_TEXT {
        return Err(Error::field("text", format!("has at most {MAX_TEXT} characters")));
    }
    let text = outreach::edited(&app, workspace, number, &body.text).await?;
    let message = app.store.edit_message(workspace, number, text).await?;
    about(&app, workspace, StatusCode::OK, &view(workspace, message)).await
}
