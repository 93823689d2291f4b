//! Whom Scrip asked about a lead, and what came of it.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::caller::Caller;
use super::extract::{Items, Page, Path, Query};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::id;
use crate::store::calls::Noted;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ProviderCall)]
pub struct View {
    at: String,
    operation: String,
    /// What was looked up.
    field: Option<String>,
    provider: String,
    /// `found`, `not_found`, `failed`, `refused`, `later`, `unknown`, or `passed`: it was not asked, because it did not answer before.
    outcome: &'static str,
    detail: Option<String>,
    /// The hold that pays for it. Whoever finds something under a hold is charged once, and nobody is asked after.
    hold: String,
}

fn view(workspace: i64, noted: Noted) -> View {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    View {
        at: rfc3339(noted.at),
        operation: noted.about.operation,
        field: some(noted.about.field),
        provider: noted.call.provider,
        outcome: noted.call.heard.name(),
        detail: some(noted.call.detail),
        hold: id::inside("hold", workspace, noted.about.hold.0),
    }
}

/// The calls of providers about a lead, newest first: whom it was looked up with, in which order, and who found something.
#[utoipa::path(get, path = "/v1/leads/{id}/calls", params(("id" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(lead): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let (workspace, number) = caller.inside("lead", &lead)?;
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    app.store.lead(workspace, number).await?;
    let rows = app.store.calls_about(workspace, number, cursor, limit + 1).await?;
    let items = Items::new(rows, limit, |noted| noted.place().to_string(), |noted| view(workspace, noted));
    about(&app, workspace, StatusCode::OK, &items).await
}
