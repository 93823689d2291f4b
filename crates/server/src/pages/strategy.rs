//! What a workspace says of itself in the messages that are written for it.

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::frame::{Page, go, html};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{self, Tab};
use crate::app::App;
use crate::store::strategy::Strategy;

/// The form.
pub async fn page(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.settings()?;
    let strategy = app.store.strategy(visitor.workspace).await?;
    shown(&app, &visitor, StatusCode::OK, &strategy).await
}

async fn shown(app: &App, visitor: &Visitor, status: StatusCode, strategy: &Strategy) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let field = |(name, text): (&'static str, &str)| view::StrategyText {
        name,
        label: label(name),
        text: text.to_owned(),
        wrong: wrong(text),
    };
    let texts = strategy.texts().map(field).into();
    html(status, &view::Strategy { shell: scene.shell(Some(Tab::Account)), texts, longest: Strategy::MAX })
}

fn label(name: &str) -> &'static str {
    match name {
        "sender" => "Who writes",
        "offer" => "What you offer",
        "proof" => "What shows that it is worth it",
        "tone" => "How it sounds",
        _ => "What the recipient is asked to do",
    }
}

fn wrong(text: &str) -> Option<&'static str> {
    let too_long = text.chars().count() > Strategy::MAX;
    let unseen = text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    match (too_long, unseen) {
        (true, _) => Some("At most 1,000 characters."),
        (_, true) => Some("It has characters that cannot be written."),
        _ => None,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Change {
    sender: String,
    offer: String,
    proof: String,
    tone: String,
    call_to_action: String,
}

/// Changes it.
pub async fn change(State(app): State<App>, visitor: Visitor, Form(typed): Form<Change>) -> Page {
    visitor.settings()?;
    // A browser ends lines with a carriage return too.
    let text = |typed: String| typed.replace('\r', "").trim().to_owned();
    let strategy = Strategy {
        sender: text(typed.sender),
        offer: text(typed.offer),
        proof: text(typed.proof),
        tone: text(typed.tone),
        call_to_action: text(typed.call_to_action),
    };
    if strategy.texts().into_iter().any(|(_, text)| wrong(text).is_some()) {
        return shown(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, &strategy).await;
    }
    app.store.set_strategy(visitor.workspace, strategy, visitor.name()).await?;
    Ok(go(&app, "/settings/strategy", "saved"))
}
