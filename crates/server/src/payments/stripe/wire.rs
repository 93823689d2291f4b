//! One request to Stripe with its attempts, and what their answers add up to.
//!
//! Owns the form encoding, the pinned version, keys and retries. It does not know what is asked.
//!
//! Invariant: every write carries a key, so that a lost answer is asked for again and has no second effect. What may have
//! happened without an answer is [`Wrong::Unknown`].

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::objects::{Problem, Refused};
use crate::config::{Secret, StripeConfig};
use crate::providers::{Body, careful, one_line, read_bounded};

/// The version of the API whose words `objects` reads.
const VERSION: &str = "2026-10-28.endive";
/// How many requests are under way at a time; Stripe allows so many a second.
pub(super) const SIDE_BY_SIDE: usize = 16;
/// The pauses between attempts, in real time; there is one attempt more than pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// Why Stripe did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    /// The card was refused; the payment intent and the reason for the payer.
    Declined { intent: Option<String>, reason: String },
    /// The card's owner has to be asked, and is not there.
    NeedsAction { intent: Option<String>, reason: String },
    /// The request makes no sense to Stripe, and never will.
    Invalid(String),
    /// Stripe does not serve us with this key, and nothing happened: it is the operator's to mend, and nobody's card was declined.
    Closed(String),
    /// Too many requests: nothing happened.
    RateLimited(String),
    /// It may have happened.
    Unknown(String),
}

/// The way to Stripe.
#[derive(Debug)]
pub(super) struct Wire {
    client: Client,
    base: Url,
    key: Secret,
    turns: Semaphore,
}

/// A parameter, in the form encoding's name for it.
pub(super) type Field<'a> = (&'a str, String);

impl Wire {
    pub(super) fn new(config: &StripeConfig) -> Result<Wire, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("stripe: {error}");
        let base = Url::parse(&config.api_url).map_err(|error| wrong(&error))?;
        let client = careful(&base, config.timeout).build().map_err(|error| wrong(&error))?;
        Ok(Wire { client, base, key: config.secret_key.clone(), turns: Semaphore::new(SIDE_BY_SIDE) })
    }

    /// Reads an object, or a page of a list.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &[Field<'_>],
    ) -> Result<T, Wrong> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(fields);
        self.ask(|| self.client.get(url.clone())).await
    }

    /// Writes, at most once under this key.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        fields: &[Field<'_>],
    ) -> Result<T, Wrong> {
        let url = self.url(path)?;
        self.ask(|| self.client.post(url.clone()).header("idempotency-key", key).form(fields)).await
    }

    /// Names come from Stripe, and still must not lead elsewhere.
    fn url(&self, path: &str) -> Result<Url, Wrong> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/';
        let url = if path.chars().all(fits) { self.base.join(&format!("/v1/{path}")).ok() } else { None };
        url.ok_or_else(|| Wrong::Invalid("this is no name of Stripe's".to_owned()))
    }

    async fn ask<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<T, Wrong> {
        let mut pauses = PAUSES.iter();
        let mut lost = None;
        loop {
            let wrong = match self.attempt(request()).await {
                Ok(answer) => return Ok(answer),
                Err(wrong) => wrong,
            };
            if let Wrong::Unknown(_) = &wrong {
                lost = Some(wrong.clone());
            }
            match (&wrong, pauses.next()) {
                (Wrong::Unknown(_) | Wrong::RateLimited(_), Some(pause)) => tokio::time::sleep(*pause).await,
                // An earlier attempt under this key may have got through.
                (Wrong::RateLimited(_), None) => return Err(lost.unwrap_or(wrong)),
                _ => return Err(wrong),
            }
        }
    }

    async fn attempt<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Wrong> {
        // It is never closed, so there is always a turn.
        let _turn = self.turns.acquire().await;
        let request = request.bearer_auth(self.key.reveal()).header("stripe-version", VERSION);
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_timeout() => {
                Err(Wrong::Unknown("Stripe did not answer in time".to_owned()))
            }
            Err(error) if error.is_builder() => {
                Err(Wrong::Invalid("Stripe cannot be called like this".to_owned()))
            }
            Err(_) => Err(Wrong::Unknown("Stripe cannot be reached".to_owned())),
        }
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Wrong> {
    let status = response.status();
    let Body::Whole(bytes) = read_bounded(response).await else {
        return Err(Wrong::Unknown("Stripe broke off in the middle of its answer".to_owned()));
    };
    if status.is_success() {
        let garbled = |_| Wrong::Unknown("Stripe gave an answer that cannot be read".to_owned());
        return serde_json::from_slice(&bytes).map_err(garbled);
    }
    let Refused { error } = serde_json::from_slice(&bytes).unwrap_or_default();
    let reason = one_line(error.message.as_deref().unwrap_or_default());
    let described = format!("Stripe answered {}: {reason}", status.as_u16());
    Err(match (status.as_u16(), error) {
        (402, Problem { code, intent, .. }) => {
            let intent = intent.map(|intent| intent.0);
            match code.as_deref() {
                Some("authentication_required") => Wrong::NeedsAction { intent, reason },
                _ => Wrong::Declined { intent, reason },
            }
        }
        (429, _) => Wrong::RateLimited(described),
        (401 | 403, _) => {
            tracing::error!(reason, "Stripe does not serve us with this key");
            Wrong::Closed(described)
        }
        (408 | 409 | 425 | 500..=599, _) => Wrong::Unknown(described),
        _ => Wrong::Invalid(described),
    })
}
