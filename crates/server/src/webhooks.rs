//! The webhook loop: hands events to the endpoints of host products, signed as Standard Webhooks has it.
//!
//! It never delays what caused an event: that was committed before. One receiver that hangs keeps nobody waiting but itself. An event
//! may arrive twice when an answer is lost; both carry the same `webhook-id`.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock::{self, rfc3339};
use crate::id;
use crate::providers::Answered;
use crate::store::Error;
use crate::store::webhooks::{Attempt, Delivery, Verdict};

/// How many receivers are called at once.
const AT_ONCE: usize = 64;

/// A secret as it is shown, once.
pub fn shown(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// What is sent.
#[derive(Serialize)]
struct Event<'a> {
    id: String,
    r#type: &'a str,
    created_at: String,
    workspace: String,
    seq: i64,
    data: &'a RawValue,
}

/// The `webhook-signature` of a message: one signature for each secret that is valid now.
pub fn signature(secrets: &[Vec<u8>], id: &str, timestamp: i64, body: &str) -> String {
    let sign = |secret: &Vec<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// The same bytes at every attempt.
fn body(delivery: &Delivery) -> String {
    let data: Result<&RawValue, _> = serde_json::from_str(&delivery.data);
    let event = Event {
        id: delivery.event_id(),
        r#type: &delivery.kind,
        created_at: rfc3339(delivery.at),
        workspace: id::workspace(delivery.workspace),
        seq: delivery.seq,
        data: data.unwrap_or(RawValue::NULL),
    };
    serde_json::to_string(&event).unwrap_or_default()
}

/// Hands over what is due at an endpoint, one event. Answers whether there was one.
async fn hand_over(app: &App, workspace: i64, endpoint: i64) -> Result<bool, Error> {
    let Some(delivery) = app.store.claim_delivery(workspace, endpoint).await? else { return Ok(false) };
    let (id, timestamp, body) = (delivery.event_id(), app.clock.now().0 / 1_000_000, body(&delivery));
    let headers = [
        ("webhook-signature", signature(&delivery.secrets, &id, timestamp, &body)),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.to_string()),
    ];
    let attempt = match app.receivers.post(&delivery.url, headers, body).await {
        Answered::Status(status @ 200..=299) => {
            Attempt { verdict: Verdict::Taken, answer: Some(status.into()), detail: None }
        }
        Answered::Status(status) => {
            let verdict = if status == 410 { Verdict::Gone } else { Verdict::Later };
            let redirect = (300..400).contains(&status).then(|| "redirects are not followed".to_owned());
            Attempt { verdict, answer: Some(status.into()), detail: redirect }
        }
        Answered::Nothing(why) => Attempt { verdict: Verdict::Later, answer: None, detail: Some(why) },
    };
    app.store.delivery_ended(delivery, attempt).await?;
    Ok(true)
}

/// Hands over everything that is due, and waits for it. Answers how much that was.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let due = app.store.due_endpoints(AT_ONCE as i64).await?;
        if due.is_empty() {
            return Ok(done);
        }
        let mut calls = JoinSet::new();
        for (workspace, endpoint) in due {
            let app = app.clone();
            calls.spawn(async move { hand_over(&app, workspace, endpoint).await });
        }
        while let Some(call) = calls.join_next().await {
            done += usize::from(call.map_err(|_| Error::Unavailable("a call broke off".to_owned()))??);
        }
    }
}

/// Runs the loop until the server stops. Only for the system's clock. No call is waited for: who does not answer keeps a place of its
/// own and no other.
pub async fn run(app: App) {
    let (mut calls, mut busy) = (JoinSet::new(), HashSet::new());
    while !app.is_stopping() {
        while let Some(ended) = calls.try_join_next() {
            if let Ok(endpoint) = ended {
                busy.remove(&endpoint);
            }
        }
        match app.store.due_endpoints((AT_ONCE + busy.len()) as i64).await {
            Ok(due) => {
                for endpoint in due {
                    if calls.len() >= AT_ONCE || !busy.insert(endpoint) {
                        continue;
                    }
                    let app = app.clone();
                    calls.spawn(async move {
                        keep_on(&app, endpoint).await;
                        endpoint
                    });
                }
            }
            Err(error) => tracing::error!(%error, "what is due at webhook endpoints could not be read"),
        }
        crate::scheduler::pause(&app).await;
    }
}

/// Hands over what is due at one endpoint, one after the other.
async fn keep_on(app: &App, (workspace, endpoint): (i64, i64)) {
    while !app.is_stopping() {
        match hand_over(app, workspace, endpoint).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "an event could not be handed over");
                return;
            }
        }
    }
}

/// A fresh secret.
pub fn fresh_secret() -> [u8; 32] {
    clock::random()
}
