//! Signing in: by a mailed link, or by a password. The answer to an address says nothing about it; a link is used by a button, not by
//! looking.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::frame::{Page, Trouble, html, page as draw};
use super::session::{self, Network};
use super::view::{SignIn, SignInForm};
use crate::app::{App, from_hex, hex};
use crate::clock;
use crate::outreach;
use crate::password::MAX_BYTES;
use crate::store::people::{Session, Way};

const TOO_OLD: Trouble = Trouble::SignedOut(Some("This link was used, has expired, or is not ours."));
pub const NO_ADDRESS: &str = "It must be an e-mail address.";
/// What a form says after too many tries, to everybody.
pub const TOO_OFTEN: &str =
    "That was tried too often. Wait a quarter of an hour, or sign in with a mailed link and set a new one.";

/// The form.
pub async fn form(State(app): State<App>) -> Page {
    ask_again(&app, StatusCode::OK, SignInForm::default())
}

fn ask_again(app: &App, status: StatusCode, form: SignInForm) -> Page {
    let (mails, provider) = (app.mailer.is_some(), app.identity.is_some());
    html(status, &SignIn::Ask(SignInForm { mails, provider, ..form }))
}

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    email: String,
}

/// Mails a link, if the address may come in.
pub async fn ask(State(app): State<App>, Form(asked): Form<Asked>) -> Page {
    if app.mailer.is_none() {
        return html(StatusCode::SERVICE_UNAVAILABLE, &SignIn::NoMail);
    }
    let typed = asked.email.trim();
    let Ok(email) = outreach::address(typed) else {
        let email = typed.to_owned();
        let form = SignInForm { email, wrong_email: Some(NO_ADDRESS), ..SignInForm::default() };
        return ask_again(&app, StatusCode::UNPROCESSABLE_ENTITY, form);
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
    come_in(&app, &headers, email, Way::Mail).await
}

#[derive(Deserialize)]
pub struct Known {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

/// Signs in with a password.
pub async fn by_password(
    State(app): State<App>,
    Network(network): Network,
    headers: HeaderMap,
    Form(known): Form<Known>,
) -> Page {
    let typed = known.email.trim();
    let again = |status, wrong_email, wrong_password| {
        let email = typed.to_owned();
        ask_again(&app, status, SignInForm { email, wrong_email, wrong_password, ..SignInForm::default() })
    };
    let Ok(email) = outreach::address(typed) else {
        return again(StatusCode::UNPROCESSABLE_ENTITY, Some(NO_ADDRESS), None);
    };
    if known.password.len() > MAX_BYTES {
        let wrong = crate::password::Unfit::TooLong.words();
        return again(StatusCode::UNPROCESSABLE_ENTITY, None, Some(wrong));
    }
    let Some(one_try) = app.store.begin_try(&email, network).await? else {
        return again(StatusCode::TOO_MANY_REQUESTS, None, Some(TOO_OFTEN));
    };
    // An address that nobody has costs the same.
    let hash = app.store.password(email.clone()).await?;
    if !app.is_password(known.password, hash).await? {
        let wrong = "The address and the password do not belong together.";
        return again(StatusCode::UNAUTHORIZED, None, Some(wrong));
    }
    app.store.end_try(one_try).await?;
    come_in(&app, &headers, email, Way::Password).await
}

/// Signs in a person who showed that an address is theirs.
pub async fn come_in(app: &App, headers: &HeaderMap, email: String, way: Way) -> Page {
    let gone = Trouble::SignedOut(Some("You are in no workspace. Ask an admin to invite you."));
    let (workspace, role) = app.store.enter(email.clone(), None).await?.ok_or(gone)?;
    let session = Session { workspace: Some(workspace), role, email: Some(email), way };
    session::sign_in(app, headers, session, "/billing").await
}
