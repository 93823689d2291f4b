//! The messages of a campaign that wait for a person: read, changed and approved, one by one or all at once. All of it is free.

use std::collections::HashSet;

use axum::Form;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::campaigns::{Cursor, ROWS, cut, number};
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Review, ReviewRow, Tab};
use crate::app::App;
use crate::store::jobs::JobKind;
use crate::store::messages::MessageFilter;
use crate::store::work::WorkState;
use crate::{id, outreach};

/// What waits, newest first.
pub async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(campaign): Path<String>,
    Query(cursor): Query<Cursor>,
) -> Page {
    let (workspace, number) = (visitor.workspace, number(&visitor, "camp", &campaign)?);
    let scene = Scene::load(&app, &visitor).await?;
    let job = app.store.job(workspace, number, JobKind::Campaign).await?;
    let progress = app.store.progress(workspace, number).await?;
    let filter = MessageFilter { job: Some(number), lead: None, awaited: true };
    let mut messages = app.store.messages(workspace, filter, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut messages, |message| message.id);
    let leads = messages.iter().map(|message| message.lead).collect();
    let names = app.store.names(workspace, HashSet::new(), leads).await?;
    let mut rows = Vec::with_capacity(messages.len());
    for message in messages {
        let step = usize::try_from(message.step).unwrap_or_default();
        let lead = app.store.lead(workspace, message.lead).await?;
        let channel = job.definition.steps.get(step).map_or("email", |step| step.channel.as_str());
        let (name, company) = names.leads.get(&message.lead).cloned().unwrap_or_default();
        rows.push(ReviewRow {
            id: id::inside("msg", workspace, message.id),
            name,
            company,
            step: message.step + 1,
            subject: (channel == "email").then(|| outreach::subject(&job, step, &lead)),
            text: message.text,
            since: scene.moment(message.changed_at),
        });
    }
    draw(&Review {
        shell: scene.shell(Some(Tab::Campaigns)),
        campaign,
        name: job.name,
        waiting: progress.state(WorkState::Review),
        rows,
        next,
    })
}

/// What a person decided.
#[derive(Deserialize)]
pub struct Decision {
    act: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    text: String,
}

/// Approves or changes one message, or approves all. Whoever approves, approves the text before their eyes: it is kept as they send it.
pub async fn decide(
    State(app): State<App>,
    visitor: Visitor,
    Path(campaign): Path<String>,
    Form(form): Form<Decision>,
) -> Page {
    let (workspace, job) = (visitor.workspace, number(&visitor, "camp", &campaign)?);
    let here = format!("/campaigns/{campaign}/messages");
    if form.act == "all" {
        let approved = app.store.approve_all(workspace, job, &visitor.name()).await?;
        app.nudge();
        return Ok(go(&app, &here, &format!("messages-approved.{approved}")));
    }
    let message = number(&visitor, "msg", &form.message)?;
    if app.store.message(workspace, message).await?.job != job {
        return Err(Trouble::not_found());
    }
    let approves = match form.act.as_str() {
        "approve" => true,
        "save" => false,
        _ => return Err(Trouble::not_found()),
    };
    // Browsers send the ends of lines as two characters.
    let text = outreach::edited(&app, workspace, message, &form.text.replace("\r\n", "\n")).await?;
    app.store.edit_message(workspace, message, text).await?;
    if approves {
        app.store.approve_message(workspace, message, &visitor.name()).await?;
        app.nudge();
    }
    Ok(go(&app, &here, if approves { "messages-approved.1" } else { "message-saved" }))
}
