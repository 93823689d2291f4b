//! Signing in by a mailed link. The answer to an address says nothing about it; a link is used by a button, not by looking.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::frame::{Page, Trouble, html, page as draw};
use super::session;
use super::view::SignIn;
use crate::app::{App, from_hex, hex};
use crate::clock;
use crate::outreach;
use crate::store::people::{Session, Way};

const TOO_OLD: Trouble = Trouble::SignedOut(Some("This link was used, has expired, or is not ours."));

/// The form for an address.
pub async fn form(State(app): State<App>) -> Page {
    let form = SignIn::Ask { email: String::new(), wrong: None };
    draw(if app.mailer.is_some() { &form } else { &SignIn::NotConfigured })
}

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    email: String,
}

/// Mails a link, if the address may come in.
pub async fn ask(State(app): State<App>, Form(asked): Form<Asked>) -> Page {
    if app.mailer.is_none() {
        return html(StatusCode::SERVICE_UNAVAILABLE, &SignIn::NotConfigured);
    }
    let typed = asked.email.trim();
    let Ok(email) = outreach::address(typed) else {
        let wrong = Some("It must be an e-mail address.".to_owned());
        let form = SignIn::Ask { email: typed.to_owned(), wrong };
        return html(StatusCode::UNPROCESSABLE_ENTITY, &form);
    };
    let token: [u8; 32] = clock::random();
    let link = format!("{}/sign-in/{}", app.public_url, hex(&token));
    app.store.ask_sign_in(email.clone(), token, link).await?;
    app.nudge();
    draw(&SignIn::Sent { email })
}

fn token(text: &str) -> Result<[u8; 32], Trouble> {
    from_hex(text).and_then(|token| token.try_into().ok()).ok_or(TOO_OLD)
}

/// Where a mailed link leads: a button.
pub async fn confirm(State(app): State<App>, Path(link): Path<String>) -> Page {
    if app.store.is_sign_in(token(&link)?).await? { draw(&SignIn::Confirm { link }) } else { Err(TOO_OLD) }
}

/// Uses a link up, and signs in.
pub async fn enter(State(app): State<App>, headers: HeaderMap, Path(link): Path<String>) -> Page {
    let email = app.store.use_sign_in(token(&link)?).await?.ok_or(TOO_OLD)?;
    let gone = Trouble::SignedOut(Some("You are in no workspace any more. Ask an admin to invite you."));
    let (workspace, role) = app.store.enter(email.clone(), None).await?.ok_or(gone)?;
    let session = Session { workspace: Some(workspace), role, email: Some(email), way: Way::Person };
    session::sign_in(&app, &headers, session, "/billing").await
}
