//! The balance chip inside another product's pages: a page for an `<iframe>` without any script, and a web component.
//!
//! The token in the address says which sites may frame it; for everybody else the page is not there to be framed.

use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Page, html};
use super::scene::state;
use super::view::{EmbeddedChip, Theme};
use crate::app::App;
use crate::embed::Validity;

/// How often the page asks again by itself, in seconds.
const REFRESH: &str = "60";

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    token: String,
    #[serde(default)]
    theme: Option<String>,
}

/// The chip.
pub async fn chip(State(app): State<App>, Query(asked): Query<Asked>) -> Page {
    let theme = match asked.theme.as_deref() {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::Reader,
    };
    let Some((embed, validity)) = app.open_embed(&asked.token).await? else {
        return framed(html(StatusCode::UNAUTHORIZED, &EmbeddedChip { balance: None, theme })?, "'none'");
    };
    let sites = embed.origins.join(" ");
    if validity == Validity::Ended {
        return framed(html(StatusCode::UNAUTHORIZED, &EmbeddedChip { balance: None, theme })?, &sites);
    }
    let balance = app.store.balance(embed.workspace).await?;
    let balance = Some((state(balance.level), balance.available));
    let mut response = framed(html(StatusCode::OK, &EmbeddedChip { balance, theme })?, &sites)?;
    response.headers_mut().insert(HeaderName::from_static("refresh"), HeaderValue::from_static(REFRESH));
    Ok(response)
}

/// Lets these sites frame a page, which has a style and nothing else.
fn framed(mut response: Response, sites: &str) -> Page {
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors {sites}"
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("frame-ancestors 'none'"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// The module with `<scrip-balance>`: any site may load it, because it holds no secret.
pub async fn script() -> Response {
    let script: &'static str = include_str!("../../assets/scrip-balance.js");
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, script).into_response()
}
