//! One POST to a provider with its attempts, and what their answers add up to.
//!
//! It owns the table of statuses, the retries and the limits of an HTTP call. It does not know what is asked.
//!
//! Invariant: only what certainly never left, or what the provider answers the same again, is attempted again.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, StatusCode, Url};
use serde_json::Value;

use super::{Outcome, install_crypto, one_line};
use crate::clock;
use crate::config::Secret;

/// The largest answer that is read, in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The pauses between attempts, in real time; there is one attempt more than pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// Where to post, and what may be assumed about the other end.
#[derive(Debug)]
pub(super) struct Endpoint {
    name: String,
    client: Client,
    url: Url,
    token: Option<Secret>,
    idempotent: bool,
}

/// What is lost if an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: only an answer that arrived counts, so a lost one is simply asked for again later.
    None,
    /// A look-up that may have been counted: a lost answer at the end is in doubt.
    Lookup,
    /// Something reached a person: one lost answer leaves doubt that later refusals cannot take away, because
    /// trying again later happens under another key and would send twice.
    Send,
}

/// What one attempt gave.
enum Attempt<T> {
    /// An answer that decides, whatever came before.
    Answered(Outcome<T>),
    /// Nobody listened: the request never left.
    NotSent(String),
    /// Refused for now, and for how many seconds it asks to be left alone; 0: it does not say.
    Busy(StatusCode, String, i64),
    /// Not ours to use (401, 402, 403, 404 and the like).
    Closed(String),
    /// Sent, and no complete answer.
    Lost(String),
    /// Answered 2xx with something that is not the contract.
    Garbled(String),
}

impl Endpoint {
    /// Builds the client; connects to nothing.
    pub(super) fn new(
        name: &str,
        url: &str,
        token: Option<Secret>,
        idempotent: bool,
        timeout: Duration,
    ) -> Result<Endpoint, String> {
        let url = Url::parse(url).map_err(|error| format!("{name}: {error}"))?;
        let mut builder = careful(&url, timeout);
        if !idempotent {
            // A kept connection may be closed by the other end just as it is used again, which would look like a
            // lost answer. Where nothing can be repeated, a fresh connection avoids that doubt.
            builder = builder.pool_max_idle_per_host(0);
        }
        let client = builder.build().map_err(|error| format!("{name}: {error}"))?;
        Ok(Endpoint { name: name.to_owned(), client, url, token, idempotent })
    }

    /// Posts `body`, with `key` as the `Idempotency-Key`, until an answer decides or the attempts are used up.
    ///
    /// `parse` reads the body of a 2xx answer: `None` if it is not the contract, `Err` if the item failed.
    pub(super) async fn post<T>(
        &self,
        effect: Effect,
        body: &Value,
        key: Option<&str>,
        parse: impl Fn(&[u8]) -> Option<Result<T, String>>,
    ) -> Outcome<T> {
        let mut pauses = PAUSES.iter();
        let mut lost = None;
        loop {
            let attempt = self.attempt(body, key, &parse).await;
            let again = match &attempt {
                Attempt::Answered(_) | Attempt::Closed(_) => false,
                Attempt::NotSent(_) => true,
                // Who asks to be left alone is not asked again at once.
                Attempt::Busy(_, _, after) => *after == 0 && self.repeatable(effect),
                Attempt::Garbled(_) => self.repeatable(effect),
                Attempt::Lost(reason) => {
                    lost = Some(reason.clone());
                    self.repeatable(effect)
                }
            };
            match pauses.next() {
                Some(pause) if again => tokio::time::sleep(*pause).await,
                _ => return self.conclude(effect, attempt, lost),
            }
        }
    }

    fn repeatable(&self, effect: Effect) -> bool {
        self.idempotent || effect == Effect::None
    }

    /// The last attempt decides; `lost` is why an attempt under the same key got no answer, if one did not.
    fn conclude<T>(&self, effect: Effect, last: Attempt<T>, lost: Option<String>) -> Outcome<T> {
        let outcome = match last {
            Attempt::Answered(outcome) => return outcome,
            Attempt::NotSent(reason) => Outcome::later(reason),
            // "A request under this key is in progress": for a send, that request may still succeed.
            Attempt::Busy(StatusCode::CONFLICT, reason, _) if self.idempotent && effect == Effect::Send => {
                Outcome::Unknown { reason }
            }
            Attempt::Busy(_, reason, after_seconds) => Outcome::TryLater { reason, after_seconds },
            Attempt::Closed(reason) => Outcome::Unavailable { reason },
            Attempt::Lost(reason) if effect == Effect::None => Outcome::later(reason),
            Attempt::Lost(reason) => Outcome::Unknown { reason },
            // A 2xx says that something was done. What cannot be read of a look-up that may be repeated is only a
            // faulty provider; everything else may have had its effect.
            Attempt::Garbled(reason) if effect != Effect::Send && self.repeatable(effect) => {
                Outcome::later(reason)
            }
            Attempt::Garbled(reason) => Outcome::Unknown { reason },
        };
        match lost {
            Some(reason) if effect == Effect::Send => Outcome::Unknown { reason },
            _ => outcome,
        }
    }

    async fn attempt<T>(
        &self,
        body: &Value,
        key: Option<&str>,
        parse: &impl Fn(&[u8]) -> Option<Result<T, String>>,
    ) -> Attempt<T> {
        let mut request = self.client.post(self.url.clone()).json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        match request.send().await {
            Ok(response) if answers_another(&response, key) => {
                Attempt::Garbled(self.reason("answered another request", ""))
            }
            Ok(response) => self.read(response, parse).await,
            Err(error) if error.is_connect() => Attempt::NotSent(self.reason("cannot be reached", "")),
            // The address may hold a secret.
            Err(error) if error.is_builder() => {
                Attempt::Closed(self.reason("cannot be called", &error.without_url().to_string()))
            }
            Err(error) if error.is_timeout() => Attempt::Lost(self.reason("did not answer in time", "")),
            Err(_) => Attempt::Lost(self.reason("closed the connection without an answer", "")),
        }
    }

    async fn read<T>(
        &self,
        response: reqwest::Response,
        parse: &impl Fn(&[u8]) -> Option<Result<T, String>>,
    ) -> Attempt<T> {
        let status = response.status();
        let after = retry_after(&response);
        let body = read_bounded(response).await;
        if status.is_success() {
            return match body {
                Body::Whole(bytes) => match parse(&bytes) {
                    Some(Ok(value)) => Attempt::Answered(Outcome::Done(value)),
                    Some(Err(reason)) => {
                        Attempt::Answered(Outcome::ItemFailed { reason: self.reason(&reason, "") })
                    }
                    None => Attempt::Garbled(self.reason("gave an answer that cannot be read", "")),
                },
                Body::TooLarge => Attempt::Garbled(self.reason("gave an answer larger than 1 MiB", "")),
                Body::Lost => Attempt::Lost(self.reason("broke off in the middle of its answer", "")),
            };
        }
        // The status alone decides; the body of an error only helps the person who reads the reason.
        let detail = match &body {
            Body::Whole(bytes) => String::from_utf8_lossy(bytes),
            Body::TooLarge | Body::Lost => "".into(),
        };
        let reason = self.reason(&format!("answered {}", status.as_u16()), &detail);
        match status.as_u16() {
            400 | 413 | 422 => Attempt::Answered(Outcome::ItemFailed { reason }),
            408 | 409 | 425 | 429 | 500..=599 => Attempt::Busy(status, reason, after),
            // A redirect is not followed: it would carry the token somewhere nobody configured.
            _ => Attempt::Closed(reason),
        }
    }

    fn reason(&self, what: &str, detail: &str) -> String {
        let detail = one_line(detail);
        if detail.is_empty() {
            format!("{} {what}", self.name)
        } else {
            format!("{} {what}: {detail}", self.name)
        }
    }
}

/// The longest that somebody may ask to be left alone, in seconds: a day.
pub(super) const MAX_REST_SECONDS: i64 = 86_400;

/// How many seconds a provider asks to be left alone; 0: it does not say. A moment counts from its own clock, where it tells that.
fn retry_after(response: &reqwest::Response) -> i64 {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let Some(asked) = text(reqwest::header::RETRY_AFTER) else { return 0 };
    if let Ok(seconds) = asked.parse::<u32>() {
        return i64::from(seconds).min(MAX_REST_SECONDS);
    }
    let moment = |text: &str| httpdate::parse_http_date(text).ok();
    let now = text(reqwest::header::DATE).and_then(moment).unwrap_or_else(clock::wall);
    let rest = moment(asked).and_then(|until| until.duration_since(now).ok()).unwrap_or_default();
    // A part of a second is one: it must not be asked too early.
    i64::try_from(rest.as_millis().div_ceil(1_000)).unwrap_or(MAX_REST_SECONDS).min(MAX_REST_SECONDS)
}

/// Whether an answer says that it is one to another key.
fn answers_another(response: &reqwest::Response, key: Option<&str>) -> bool {
    let named = response.headers().get("idempotency-key");
    named.is_some_and(|named| key.is_none_or(|key| named.as_bytes() != key.as_bytes()))
}

/// A client that follows nobody and waits for nobody longer than this.
pub(crate) fn careful(url: &Url, timeout: Duration) -> ClientBuilder {
    install_crypto();
    let builder = Client::builder()
        .timeout(timeout)
        // Shorter than the whole, so that a connection that never came about is told from a lost answer.
        .connect_timeout(Duration::from_secs(5).min(timeout / 2))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    // Without TLS there is no need for the machine's certificates, which a bare container lacks.
    if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder }
}

/// The body of an answer.
pub(crate) enum Body {
    Whole(Vec<u8>),
    TooLarge,
    Lost,
}

/// Reads an answer of at most 1 MiB.
pub(crate) async fn read_bounded(mut response: reqwest::Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_ANSWER_BYTES => return Body::TooLarge,
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Body::Whole(bytes),
            Err(_) => return Body::Lost,
        }
    }
}
