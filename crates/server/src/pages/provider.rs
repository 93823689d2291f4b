//! Signing in with the identity provider: out to it, and back with what it says.
//!
//! Nobody signs up here: an address that the provider vouches for must be a person's who was let in by an admin.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::frame::{Page, Trouble};
use super::session::{self, BEGUN, Cookies};
use super::sign_in;
use crate::app::App;
use crate::oidc::{Begun, Provider, Refused};
use crate::outreach;
use crate::store::people::Way;

/// How long somebody may take at the provider, in seconds.
const MINUTES_10: i64 = 600;

fn provider(app: &App) -> Result<&Provider, Trouble> {
    app.identity.as_ref().ok_or_else(Trouble::not_found)
}

fn back(app: &App) -> String {
    format!("{}/sign-in/provider/callback", app.public_url)
}

/// Goes to the provider.
pub async fn begin(State(app): State<App>) -> Page {
    let (url, begun) = provider(&app)?.begin(&back(&app)).await?;
    let mut response = Redirect::to(url.as_str()).into_response();
    session::set_cookie(&app, response.headers_mut(), BEGUN, &begun.cookie(), MINUTES_10);
    Ok(response)
}

#[derive(Deserialize)]
pub struct Answer {
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: String,
}

/// Comes back from it. Whatever comes of it, what was begun has ended.
pub async fn end(State(app): State<App>, headers: HeaderMap, Query(answer): Query<Answer>) -> Page {
    let mut response = finish(&app, &headers, answer).await.unwrap_or_else(IntoResponse::into_response);
    session::set_cookie(&app, response.headers_mut(), BEGUN, "", 0);
    Ok(response)
}

async fn finish(app: &App, headers: &HeaderMap, answer: Answer) -> Page {
    let begun = Cookies::of(headers).begun.as_deref().and_then(Begun::parse);
    let elsewhere = "This sign-in was not begun in this browser, or it took too long. Begin it again.";
    let begun = begun.filter(|begun| begun.is_answered_by(&answer.state));
    let begun = begun.ok_or(Trouble::SignedOut(Some(elsewhere)))?;
    if answer.code.is_empty() {
        return Err(Trouble::SignedOut(Some("Your identity provider did not let you in.")));
    }
    let said = provider(app)?.finish(&begun, &answer.code, &back(app), app.clock.now()).await?;
    let unknown =
        Trouble::SignedOut(Some("Nobody with this address was invited. Ask an admin to invite you."));
    let email = outreach::address(&said).map_err(|_| unknown.clone())?;
    if app.store.memberships(email.clone()).await?.is_empty() {
        return Err(unknown);
    }
    sign_in::come_in(app, headers, email, Way::Provider).await
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        match refused {
            Refused::Unavailable(why) => {
                tracing::warn!(why, "the identity provider cannot be used now");
                Trouble::unavailable("Your identity provider did not answer. Try again in a moment.")
            }
            Refused::Code => {
                Trouble::SignedOut(Some("This sign-in was used or took too long. Begin it again."))
            }
            Refused::Token(why) => {
                tracing::warn!(why, "an ID token was refused");
                Trouble::SignedOut(Some(
                    "What your identity provider sent cannot be trusted. Nobody was signed in.",
                ))
            }
            Refused::Unverified => Trouble::SignedOut(Some(
                "Your identity provider does not say that your e-mail address is verified. Nobody was signed in.",
            )),
        }
    }
}
