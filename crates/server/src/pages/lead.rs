//! One lead: what is known of it, what became of it, and whom it was looked up with.

use axum::extract::{Path, Query, State};
use billing::Time;

use super::campaigns::{Cursor, ROWS, channel, cut, due, lead_state, number, step};
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::usage;
use super::view::{LeadCall, LeadCampaign, LeadPage, Tab};
use crate::app::App;
use crate::store::calls::{Heard, Noted};
use crate::store::leads::{EmailState, Lead};
use crate::store::queries::{Course, PastStep};
use crate::{id, outreach};

/// The newest campaigns of a lead are shown.
const CAMPAIGNS: i64 = 50;

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
    let (courses, blocked) = app.store.courses(visitor.workspace, number, CAMPAIGNS).await?;
    let campaign = |course: &Course| LeadCampaign {
        id: id::inside("camp", visitor.workspace, course.campaign.id),
        name: course.campaign.name.clone(),
        step: step(&course.campaign, course.place.position),
        state: lead_state(&course.place),
        due: due(&scene, &course.campaign, &course.place),
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    draw(&LeadPage {
        shell: scene.shell(Some(Tab::Leads)),
        id: id::inside("lead", visitor.workspace, lead.id),
        replied: lead.replied_at.is_some(),
        blocked,
        campaigns: courses.iter().map(campaign).collect(),
        turns: turns(&lead, &courses).into_iter().map(|(at, what)| (scene.moment(at), what)).collect(),
        email_verified: lead.email_state == EmailState::Verified,
        fields: lead.fields.iter().map(|(name, value)| (name.replace('_', " "), text(value))).collect(),
        name: lead.name,
        title: lead.title,
        company: lead.company,
        linkedin_url: lead.linkedin_url,
        email: lead.email,
        calls: calls.into_iter().map(|noted| call_row(&app, &scene, noted)).collect(),
        next,
    })
}

/// A call of a provider.
pub fn call_row(app: &App, scene: &Scene, noted: Noted) -> LeadCall {
    LeadCall {
        at: scene.moment(noted.at),
        what: match noted.about.field.as_str() {
            "" => usage::operation(app, &noted.about.operation),
            field => field.replace('_', " "),
        },
        provider: noted.call.provider,
        heard: match (noted.call.heard, noted.about.operation.as_str()) {
            (Heard::Found, "email_send" | "linkedin_send") => "accepted",
            (Heard::Found, "message_generation" | "message_regeneration") => "written",
            (told, _) => heard(told, noted.call.kept.is_some()),
        }
        .to_owned(),
        detail: noted.call.detail,
    }
}

/// What became of a lead, newest first.
fn turns(lead: &Lead, courses: &[Course]) -> Vec<(Time, String)> {
    let mut turns = vec![(lead.created_at, "Became a lead".to_owned())];
    turns.extend(lead.replied_at.map(|at| (at, "Replied".to_owned())));
    for Course { campaign, past, .. } in courses {
        let turn = |past: &PastStep| {
            let way =
                campaign.definition.steps.get(past.step as usize).map_or("", |step| channel(&step.channel));
            let outcome = ["sent", "skipped", "failed", "unconfirmed: may have been sent"];
            let outcome = outcome.get(past.outcome as usize).unwrap_or(&"");
            let why = if past.detail.is_empty() { String::new() } else { format!(": {}", past.detail) };
            (past.at, format!("{}, step {}: {way} {outcome}{why}", campaign.name, past.step + 1))
        };
        turns.extend(past.iter().map(turn));
    }
    turns.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    turns
}

/// They replied, or nothing is to go to them any more.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path((lead, act)): Path<(String, String)>,
) -> Page {
    let number = number(&visitor, "lead", &lead)?;
    let flash = match act.as_str() {
        "replied" => {
            app.store.lead_replied(visitor.workspace, number).await?;
            "lead-replied"
        }
        "block" => {
            let known = app.store.lead(visitor.workspace, number).await?;
            let entries = known.email.into_iter().chain(known.linkedin_url);
            let entries = entries.filter_map(|entry| outreach::block_entry(&entry).ok()).collect();
            app.store.block(visitor.workspace, entries).await?;
            "lead-blocked"
        }
        _ => return Err(Trouble::not_found()),
    };
    app.nudge();
    Ok(go(&app, &format!("/leads/{lead}"), flash))
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
