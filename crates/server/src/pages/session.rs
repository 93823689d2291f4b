//! Who is looking: signed links become sessions, sessions become visitors.
//!
//! The cookie holds a random token of 256 bits; the store keeps its digest. Signing in ends the session that was there, so
//! that a token somebody planted is never the one that gets rights.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::flash;
use super::frame::{Page, Trouble, html};
use super::view::{Flash, SignedOut};
use crate::app::{App, Link, from_hex, hex};
use crate::clock;
use crate::network;
use crate::store::people::{KnownSession, Role, Session, Way, Whose};

/// The cookie with the token.
const SESSION: &str = "scrip_session";
/// The cookie with the outcome of the last form.
pub const FLASH: &str = "scrip_flash";
/// The cookie of a sign-in that was begun with the identity provider.
pub const BEGUN: &str = "scrip_begun";
/// The cookie with the way back to the host product, for when the session is over.
const RETURN: &str = "scrip_return";

/// How long a session lasts, in seconds.
const SESSION_SECONDS: i64 = 12 * 3_600;
/// The same under a manual clock: a demo's month passes in minutes and must not sign its viewer out.
const MANUAL_SESSION_SECONDS: i64 = 30 * 86_400;
/// How long the way back is remembered, in seconds.
const RETURN_SECONDS: i64 = 30 * 86_400;

/// The cookies of a request.
#[derive(Clone, Debug, Default)]
pub struct Cookies {
    token: Option<[u8; 32]>,
    pub flash: Option<String>,
    pub return_url: Option<String>,
    pub begun: Option<String>,
}

impl Cookies {
    /// Reads them; what is malformed is not there.
    pub fn of(headers: &HeaderMap) -> Cookies {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut cookies = Cookies::default();
        for (name, value) in pairs {
            match name {
                SESSION => cookies.token = from_hex(value).and_then(|token| token.try_into().ok()),
                FLASH => cookies.flash = Some(value.to_owned()).filter(|value| !value.is_empty()),
                BEGUN => cookies.begun = Some(value.to_owned()),
                RETURN => cookies.return_url = percent_decode_str(value).decode_utf8().ok().map(Into::into),
                _ => {}
            }
        }
        cookies
    }
}

/// The longest that is kept of what a browser says of itself, in characters.
const AGENT: usize = 300;

/// Somebody in a workspace.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub workspace: i64,
    pub role: Role,
    pub email: Option<String>,
    pub flash: Option<Flash>,
    /// How they came in.
    pub way: Way,
    /// The session's number.
    pub session: i64,
    /// Whose sessions they may see.
    pub whose: Whose,
    token: [u8; 32],
}

impl Visitor {
    /// Fails unless the visitor may buy and change settings. The operator, looking in, may.
    pub fn admin(&self) -> Result<(), Trouble> {
        match self.role {
            Role::Admin | Role::Operator => Ok(()),
            Role::Member => {
                Err(Trouble::forbidden("Only an admin of this workspace can buy credits. Ask one."))
            }
        }
    }

    /// Fails unless the visitor may see and change settings.
    pub fn settings(&self) -> Result<(), Trouble> {
        match self.role {
            Role::Admin | Role::Operator => Ok(()),
            Role::Member => {
                Err(Trouble::forbidden("Only an admin of this workspace can change its settings. Ask one."))
            }
        }
    }

    /// The person in the ledger's and the screen's words.
    pub fn name(&self) -> String {
        let role = match self.role {
            Role::Member => "a member",
            Role::Admin => "an admin",
            Role::Operator => "the operator",
        };
        self.email.clone().unwrap_or_else(|| role.to_owned())
    }

    /// The person as what they ask for is labelled, and as the list of people has them. A link need not name anybody.
    pub fn label(&self) -> Option<String> {
        self.email.as_deref().map(str::to_ascii_lowercase)
    }

    /// The address of somebody who showed that it is theirs.
    pub fn person(&self) -> Result<String, Trouble> {
        let person = self.email.clone().filter(|_| self.way.is_person());
        person.ok_or_else(|| Trouble::forbidden("You came in by a link into this one workspace."))
    }

    /// Whether the session still stands.
    pub async fn is_signed_in(&self, app: &App) -> bool {
        app.store.session(self.token).await.is_ok_and(|session| session.is_some())
    }
}

/// The network that a request comes from, if that is known.
pub struct Network(pub Option<IpAddr>);

impl FromRequestParts<App> for Network {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Network, Infallible> {
        Ok(Network(network::origin(parts.extensions.get().copied(), &parts.headers)))
    }
}

/// The operator, on the pages about all workspaces.
pub struct Operator {
    pub flash: Option<Flash>,
    pub email: Option<String>,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Visitor, Trouble> {
        visitor(app, &Cookies::of(&parts.headers)).await
    }
}

/// The visitor behind a request's cookies.
pub async fn visitor(app: &App, cookies: &Cookies) -> Result<Visitor, Trouble> {
    let (token, known) = session(app, cookies).await?;
    let (whose, KnownSession { id, session }) = (Whose::of(&known), known);
    let workspace = session.workspace.ok_or(Trouble::Elsewhere("/admin"))?;
    let flash = cookies.flash.as_deref().and_then(flash::words);
    let Session { role, email, way, .. } = session;
    Ok(Visitor { workspace, role, email, flash, way, session: id, whose, token })
}

impl FromRequestParts<App> for Operator {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Operator, Trouble> {
        let cookies = Cookies::of(&parts.headers);
        let (_, KnownSession { session, .. }) = session(app, &cookies).await?;
        if session.role != Role::Operator {
            return Err(Trouble::forbidden("This page is the operator's."));
        }
        Ok(Operator { flash: cookies.flash.as_deref().and_then(flash::words), email: session.email })
    }
}

async fn session(app: &App, cookies: &Cookies) -> Result<([u8; 32], KnownSession), Trouble> {
    let token = cookies.token.ok_or(Trouble::SignedOut(None))?;
    let session = app.store.session(token).await?;
    Ok((token, session.ok_or(Trouble::SignedOut(Some("Your session has ended.")))?))
}

#[derive(Deserialize)]
pub struct Token {
    #[serde(default)]
    pub token: String,
}

/// A signed link: in, and on to the first page.
pub async fn portal(State(app): State<App>, headers: HeaderMap, Query(query): Query<Token>) -> Page {
    let too_old = Trouble::SignedOut(Some("This link has expired or is not ours."));
    let Link { workspace, role, email, return_url, .. } = app.open_link(&query.token).ok_or(too_old)?;
    let (session, to) = (Session { workspace, role: role.into(), email, way: Way::Link }, landing(workspace));
    let mut response = sign_in(&app, &headers, session, to).await?;
    if let Some(url) = return_url.filter(|url| is_web(url)) {
        let value = utf8_percent_encode(&url, NON_ALPHANUMERIC).to_string();
        set_cookie(&app, response.headers_mut(), RETURN, &value, RETURN_SECONDS);
    }
    Ok(response)
}

fn landing(workspace: Option<i64>) -> &'static str {
    if workspace.is_some() { "/billing" } else { "/admin" }
}

/// Starts a session in place of the one that is there.
pub async fn sign_in(app: &App, headers: &HeaderMap, session: Session, to: &str) -> Page {
    if let Some(old) = Cookies::of(headers).token {
        app.store.end_session(old).await?;
    }
    let token: [u8; 32] = clock::random();
    let seconds = if app.clock.is_manual() { MANUAL_SESSION_SECONDS } else { SESSION_SECONDS };
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let agent = agent.chars().take(AGENT).collect();
    app.store.create_session(token, session, agent, app.clock.now().plus_seconds(seconds)).await?;
    let mut response = Redirect::to(to).into_response();
    put_cookie(app, response.headers_mut(), SESSION, &hex(&token), "");
    Ok(response)
}

/// Ends the session.
pub async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Page {
    if let Some(token) = Cookies::of(&headers).token {
        app.store.end_session(token).await?;
    }
    let mut response = Redirect::to("/signed-out").into_response();
    set_cookie(&app, response.headers_mut(), SESSION, "", 0);
    Ok(response)
}

/// Where signing out leads.
pub async fn signed_out(headers: HeaderMap) -> Page {
    let return_url = Cookies::of(&headers).return_url.filter(|url| is_web(url));
    html(StatusCode::OK, &SignedOut { reason: None, return_url })
}

/// Whether a browser may be sent to this address: nothing but the web, so never a script.
pub fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Sets a cookie for so many seconds; 0 takes it away.
pub fn set_cookie(app: &App, headers: &mut HeaderMap, name: &str, value: &str, seconds: i64) {
    put_cookie(app, headers, name, value, &format!("; Max-Age={seconds}"));
}

/// Without an age, a cookie lasts as long as the browser: the server's own clock ends a session.
fn put_cookie(app: &App, headers: &mut HeaderMap, name: &str, value: &str, age: &str) {
    let secure = if app.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// A fresh idempotency key for a form.
pub fn form_key() -> String {
    hex(&clock::random::<16>())
}

/// A form's key as the store keeps it. The space keeps it apart from callers' own keys, which have none.
pub fn stored_key(form_key: &str) -> Result<String, Trouble> {
    let good =
        (1..=64).contains(&form_key.len()) && form_key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good { Ok(format!("form {form_key}")) } else { Err(Trouble::unprocessable("The form has no key.")) }
}

/// The answer to a page of this session that came with nothing to do.
pub fn see(to: &str) -> Response {
    Redirect::to(to).into_response()
}
