//! Local HTTP providers (discovery, enrichment, LinkedIn, chat completions) that can be told to misbehave.
//!
//! It owns the listener, the log of calls and the memory of keys. What is answered is decided in `answers`.
//!
//! Invariant: a key has at most one effect; every later call under it is a repeat with the same answer.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::answers;

/// Running providers; dropping them closes the listener.
#[derive(Debug)]
pub struct HttpFakes {
    /// `http://127.0.0.1:port`; append `/discovery`, `/enrichment`, `/linkedin` or `/v1` (for chat completions).
    pub url: String,
    /// The bearer token they want.
    pub token: String,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

/// Which of the providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fake {
    /// `/discovery`
    Discovery,
    /// `/enrichment`
    Enrichment,
    /// `/linkedin`
    Linkedin,
    /// `/v1/chat/completions`
    Messages,
}

/// One call, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who was called.
    pub fake: Fake,
    /// The `Idempotency-Key`; empty if there was none.
    pub key: String,
    /// What was asked for: `search`, `contact`, `invite`, `status`, `write` …
    pub action: String,
    /// `found`, `not_found`, `unverified`, `empty`, `accepted`, `not_accepted`, `written`; `done`, `not_seen` of a
    /// status; `repeated`; `failed` if there was no effect.
    pub outcome: String,
    /// Whether its key had had its effect before.
    pub repeat: bool,
}

/// How many calls there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that arrived, status questions and failures included.
    pub calls: usize,
    /// Those that had an effect.
    pub effects: usize,
    /// Those whose key had had its effect before.
    pub repeats: usize,
    /// Effects by `(action, outcome)`.
    pub outcomes: BTreeMap<(String, String), usize>,
}

/// A way to misbehave.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Answers with this status, without effect.
    Status(u16),
    /// Never answers, without effect.
    Hang,
    /// Takes effect, and never answers.
    HangAfterEffect,
    /// Takes effect, and breaks the connection off.
    CloseAfterEffect,
    /// Takes effect, and answers 200 with this instead.
    Answer(String),
}

#[derive(Debug, Default)]
struct State {
    token: String,
    delay: Duration,
    failures: BTreeMap<Fake, (Failure, usize)>,
    calls: Vec<Call>,
    answers: BTreeMap<(Fake, String), Value>,
}

impl HttpFakes {
    /// Listens on a free port of this machine.
    pub async fn start() -> io::Result<HttpFakes> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let token = "demo-token".to_owned();
        let state = Arc::new(Mutex::new(State { token: token.clone(), ..State::default() }));
        let route = |fake: Fake| {
            post(move |state: Shared<Arc<Mutex<State>>>, headers: HeaderMap, body: Bytes| {
                serve(fake, state, headers, body)
            })
        };
        let router = Router::new()
            .route("/discovery", route(Fake::Discovery))
            .route("/enrichment", route(Fake::Enrichment))
            .route("/linkedin", route(Fake::Linkedin))
            .route("/v1/chat/completions", route(Fake::Messages))
            .with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(HttpFakes { url, token, state, serving })
    }

    /// Every call so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// How many calls there were so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for call in &lock(&self.state).calls {
            counts.calls += 1;
            if call.repeat {
                counts.repeats += 1;
            } else if call.outcome != "failed" && call.action != "status" {
                counts.effects += 1;
                *counts.outcomes.entry((call.action.clone(), call.outcome.clone())).or_default() += 1;
            }
        }
        counts
    }

    /// Misbehaves in this way for the next `times` calls of `fake`.
    pub fn fail(&self, fake: Fake, failure: Failure, times: usize) {
        lock(&self.state).failures.insert(fake, (failure, times));
    }

    /// Behaves again.
    pub fn recover(&self, fake: Fake) {
        lock(&self.state).failures.remove(&fake);
    }

    /// How long to think before every answer, in real time.
    pub fn set_delay(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }
}

impl Drop for HttpFakes {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    fake: Fake,
    Shared(state): Shared<Arc<Mutex<State>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let delay = lock(&state).delay;
    tokio::time::sleep(delay).await;
    let reply = {
        let mut state = lock(&state);
        if header("authorization") != format!("Bearer {}", state.token) {
            return refuse(401, "the bearer token is not known here");
        }
        let Ok(call) = serde_json::from_slice::<Value>(&body) else {
            return refuse(400, "the body is not JSON");
        };
        state.answer(fake, header("idempotency-key"), &call)
    };
    match reply {
        Reply::Json(value) => axum::Json(value).into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::Refuse(status, detail) => refuse(status, detail),
        Reply::Hang => std::future::pending().await,
        Reply::Close => {
            // A body that fails at once makes the server close the connection in the middle of its answer.
            let broken =
                futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("closed on purpose")) });
            Response::new(Body::from_stream(broken))
        }
    }
}

/// What is sent back, decided while the state is locked.
enum Reply {
    Json(Value),
    Text(String),
    Refuse(u16, &'static str),
    Hang,
    Close,
}

impl State {
    fn answer(&mut self, fake: Fake, key: &str, call: &Value) -> Reply {
        let failure = self.take_failure(fake);
        let action = match fake {
            Fake::Messages => "write",
            _ => call["do"].as_str().unwrap_or("unknown"),
        };
        let before_effect = match &failure {
            Some(Failure::Status(status)) => Some(Reply::Refuse(*status, "failing on purpose")),
            Some(Failure::Hang) => Some(Reply::Hang),
            _ => None,
        };
        if let Some(reply) = before_effect {
            self.log(fake, key, action, "failed", false);
            return reply;
        }
        let Some(answer) = self.take_effect(fake, key, action, call) else {
            self.log(fake, key, action, "failed", false);
            return Reply::Refuse(422, "the request cannot be read");
        };
        match failure {
            Some(Failure::HangAfterEffect) => Reply::Hang,
            Some(Failure::CloseAfterEffect) => Reply::Close,
            Some(Failure::Answer(text)) => Reply::Text(text),
            _ => Reply::Json(answer),
        }
    }

    fn take_effect(&mut self, fake: Fake, key: &str, action: &str, call: &Value) -> Option<Value> {
        if action == "status" {
            let asked = call["key"].as_str()?;
            let result = self.answers.get(&(fake, asked.to_owned())).cloned();
            let status = if result.is_some() { "done" } else { "not_seen" };
            self.log(fake, asked, action, status, false);
            return Some(json!({"status": status, "result": result}));
        }
        let remembered = (fake, key.to_owned());
        if let Some(answer) = self.answers.get(&remembered).cloned() {
            self.log(fake, key, action, "repeated", true);
            return Some(answer);
        }
        let (answer, outcome) = match fake {
            Fake::Discovery => answers::discovery(call)?,
            Fake::Enrichment => answers::enrichment(call)?,
            Fake::Linkedin => answers::linkedin(call)?,
            Fake::Messages => answers::completion(call)?,
        };
        self.log(fake, key, action, outcome, false);
        if !key.is_empty() {
            self.answers.insert(remembered, answer.clone());
        }
        Some(answer)
    }

    fn take_failure(&mut self, fake: Fake) -> Option<Failure> {
        let (failure, times) = self.failures.get_mut(&fake)?;
        if *times == 0 {
            return None;
        }
        *times -= 1;
        Some(failure.clone())
    }

    fn log(&mut self, fake: Fake, key: &str, action: &str, outcome: &str, repeat: bool) {
        let call = Call {
            fake,
            key: key.to_owned(),
            action: action.to_owned(),
            outcome: outcome.to_owned(),
            repeat,
        };
        self.calls.push(call);
    }
}

fn refuse(status: u16, detail: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), detail).into_response()
}
