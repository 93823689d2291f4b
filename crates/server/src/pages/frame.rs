//! What surrounds every page: the guard against forged forms, the security headers, and the page for what went wrong.
//!
//! A handler that fails answers a [`Trouble`]; it is drawn here, once, because only here is it known who is looking.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::scene::Scene;
use super::session::{self, Cookies};
use super::view::format::thousands;
use super::view::{ErrorPage, SignedOut};
use crate::app::App;
use crate::money;
use crate::payments::Failure;
use crate::payments::Payments;
use crate::store;

/// What a handler answers.
pub type Page = Result<Response, Trouble>;

/// Why there is no page.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Nobody is signed in.
    SignedOut(Option<&'static str>),
    /// The page for this session is another one.
    Elsewhere(&'static str),
    /// It failed, with the words for it.
    Failed { status: StatusCode, title: &'static str, detail: String },
}

impl Trouble {
    /// It does not exist, or it is somebody else's: they look the same.
    pub fn not_found() -> Trouble {
        let detail = "The link may be old, or it belongs to another workspace.";
        Trouble::failed(StatusCode::NOT_FOUND, "This page does not exist", detail)
    }

    /// The session may not do this.
    pub fn forbidden(detail: &str) -> Trouble {
        Trouble::failed(StatusCode::FORBIDDEN, "You may not do this", detail)
    }

    /// A form or an address that makes no sense.
    pub fn unprocessable(detail: impl Into<String>) -> Trouble {
        Trouble::failed(StatusCode::UNPROCESSABLE_ENTITY, "This cannot be done as it was sent", detail)
    }

    /// It does not work now and may work later.
    pub fn unavailable(detail: &str) -> Trouble {
        Trouble::failed(StatusCode::SERVICE_UNAVAILABLE, "Not available now", detail)
    }

    fn failed(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Trouble {
        Trouble::Failed { status, title, detail: detail.into() }
    }

    /// The words for an answer that a handler never gave: a method, a form or an address that did not fit.
    pub fn of(status: StatusCode) -> Trouble {
        match status {
            StatusCode::NOT_FOUND => Trouble::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Trouble::failed(
                status,
                "This address takes another kind of request",
                "Use the links of the page.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Trouble::failed(status, "This is too large", "Send less at once.")
            }
            _ if status.is_client_error() => Trouble::failed(
                status,
                "This cannot be done as it was sent",
                "A field is missing or malformed.",
            ),
            _ => Trouble::unavailable("Nothing was changed. Try again in a moment."),
        }
    }
}

impl From<money::Trouble> for Trouble {
    fn from(trouble: money::Trouble) -> Trouble {
        match trouble {
            money::Trouble::Store(error) => error.into(),
            money::Trouble::NotConfigured => {
                Trouble::unavailable("Nothing can be bought here: no payments are configured.")
            }
            money::Trouble::Provider(Failure::Refused(reason)) => {
                Trouble::failed(StatusCode::CONFLICT, "The payment provider refused this", sentence(&reason))
            }
            money::Trouble::Provider(Failure::Unknown(_)) => Trouble::unavailable(
                "The payment provider did not answer. Send it again: nothing is paid twice.",
            ),
        }
    }
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Trouble {
        match error {
            store::Error::NotFound => Trouble::not_found(),
            store::Error::Conflict(_, detail) => {
                Trouble::failed(StatusCode::CONFLICT, "This does not fit what is there", sentence(detail))
            }
            store::Error::Invalid(field, detail) => Trouble::unprocessable(format!("{field}: {detail}.")),
            store::Error::Refused(refusal) => Trouble::unprocessable(format!(
                "The ledger refused it: {}.",
                refusal.code().replace('_', " ")
            )),
            store::Error::OverCap { limit, used, needed, .. } => Trouble::unprocessable(format!(
                "The campaign may use {limit} credits and has used {used}: this needs {needed} more."
            )),
            store::Error::OverBudget(over) => Trouble::unprocessable(format!(
                "A limit of {} credits is reached: {} are used or reserved, and this needs {}.",
                thousands(over.limit),
                thousands(over.used),
                thousands(over.needed)
            )),
            store::Error::Unavailable(why) | store::Error::Again(why) => {
                Trouble::unavailable(&sentence(&why))
            }
            store::Error::Engine(error) | store::Error::Broken(error) => {
                tracing::error!(%error, "the database failed");
                Trouble::unavailable(
                    "The database did not answer. Nothing was changed: try again in a moment.",
                )
            }
        }
    }
}

/// The store's words end without a full stop.
/// A text as a sentence.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

impl IntoResponse for Trouble {
    /// Leaves a note for [`around`], which draws it.
    fn into_response(self) -> Response {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A page that went well.
pub fn page(template: &impl Template) -> Page {
    html(StatusCode::OK, template)
}

/// A page with a status.
pub fn html(status: StatusCode, template: &impl Template) -> Page {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be drawn");
        Trouble::unavailable("The page could not be drawn.")
    })?;
    Ok((status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

/// Goes to another page after a form, and says there what was done.
pub fn go(app: &App, to: &str, flash: &str) -> Response {
    let mut response = Redirect::to(to).into_response();
    session::set_cookie(app, response.headers_mut(), session::FLASH, flash, 60);
    response
}

/// Around every page.
pub async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let cookies = Cookies::of(request.headers());
    let get = request.method() == Method::GET;
    let read_only = get || request.method() == Method::HEAD;
    let mut response = if read_only || is_own(&app, request.headers()) {
        next.run(request).await
    } else {
        Trouble::forbidden("The form was sent from another site.").into_response()
    };
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if let Some(trouble) = response.extensions_mut().remove::<Trouble>() {
        let set: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
        response = draw(&app, &cookies, trouble).await;
        response.headers_mut().extend(set.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
    } else if failed && !is_html(&response) {
        response = draw(&app, &cookies, Trouble::of(status)).await;
    }
    if get && cookies.flash.is_some() && response.status() == StatusCode::OK && is_html(&response) {
        session::set_cookie(&app, response.headers_mut(), session::FLASH, "", 0);
    }
    secure(&app, response.headers_mut());
    response
}

/// The page for an address that nothing answers; for the server's fallback, which stands outside [`around`].
pub async fn not_found(State(app): State<App>, request: Request) -> Response {
    let mut response = draw(&app, &Cookies::of(request.headers()), Trouble::not_found()).await;
    secure(&app, response.headers_mut());
    response
}

async fn draw(app: &App, cookies: &Cookies, trouble: Trouble) -> Response {
    let drawn = match trouble {
        Trouble::Elsewhere(to) => Ok(Redirect::to(to).into_response()),
        Trouble::SignedOut(reason) => {
            let reason = reason.map(str::to_owned);
            let return_url = cookies.return_url.clone().filter(|url| session::is_web(url));
            html(StatusCode::UNAUTHORIZED, &SignedOut { reason, return_url })
        }
        Trouble::Failed { status, title, detail } => {
            // Without a database there is no balance to show, and a made-up one must not appear.
            let known = status != StatusCode::SERVICE_UNAVAILABLE;
            let visitor = if known { session::visitor(app, cookies).await.ok() } else { None };
            let shell = match &visitor {
                Some(visitor) => Scene::load(app, visitor).await.ok().map(|scene| scene.shell(None)),
                None => None,
            };
            let (action, action_url) = ("Go to billing".to_owned(), "/billing".to_owned());
            let title = title.to_owned();
            html(status, &ErrorPage { shell, status: status.as_u16(), title, detail, action, action_url })
        }
    };
    let mut response = drawn.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Whether a form comes from our own pages. Browsers say so themselves; a caller that says nothing is no browser, and has no
/// session that somebody else could abuse.
fn is_own(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    origin == app.public_url || (host.is_some() && host == text("host"))
}

fn is_html(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; \
    frame-ancestors 'none'; form-action 'self'; base-uri 'none'";

/// The same policy for a page whose form may lead on to another site.
pub fn policy_towards(origin: &str) -> Option<HeaderValue> {
    let policy = POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    HeaderValue::from_str(&policy).ok()
}

fn secure(app: &App, headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Who buys is led on to the provider's pages, and browsers hold a form to its policy also where the answer leads.
    let policy = app.payments.as_ref().and_then(Payments::pages).and_then(policy_towards);
    let policy = policy.unwrap_or(HeaderValue::from_static(POLICY));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
}
