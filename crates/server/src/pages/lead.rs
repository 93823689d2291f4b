//! One lead: what is known of it, and whom it was looked up with.

use axum::extract::{Path, Query, State};

use super::campaigns::{Cursor, ROWS, cut, number};
use super::frame::{Page, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::usage;
use super::view::{LeadCall, LeadPage, Tab};
use crate::app::App;
use crate::store::calls::{Heard, Noted};
use crate::store::leads::EmailState;

/// A lead, and the calls about it, newest first.
pub async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(lead): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Page {
    let number = number(&visitor, "lead", &lead)?;
    let lead = app.store.lead(visitor.workspace, number).await?;
    let scene = Scene::load(&app, &visitor).await?;
    let mut calls = app.store.calls_about(visitor.workspace, number, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut calls, Noted::place);
    let row = |noted: Noted| LeadCall {
        at: scene.moment(noted.at),
        what: match noted.about.field.as_str() {
            "" => usage::operation(&app, &noted.about.operation),
            field => field.replace('_', " "),
        },
        provider: noted.call.provider,
        heard: heard(noted.call.heard, noted.call.kept.is_some()).to_owned(),
        detail: noted.call.detail,
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    draw(&LeadPage {
        shell: scene.shell(Some(Tab::Leads)),
        id: crate::id::inside("lead", visitor.workspace, lead.id),
        email_verified: lead.email_state == EmailState::Verified,
        fields: lead.fields.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        name: lead.name,
        title: lead.title,
        company: lead.company,
        linkedin_url: lead.linkedin_url,
        email: lead.email,
        calls: calls.into_iter().map(row).collect(),
        next,
    })
}

/// What came of a call, in the words of the screen.
fn heard(heard: Heard, unsure: bool) -> &'static str {
    match heard {
        Heard::Found if unsure => "found, not verified",
        Heard::Found => "found",
        Heard::Nothing => "nothing found",
        Heard::Failed => "could not do it",
        Heard::Refused => "does not serve us",
        Heard::Later => "to be tried again",
        Heard::Unknown => "no answer: may have happened",
        Heard::Passed => "not asked",
    }
}
