//! How a test in another process takes hold of the stand-in: `POST /_fake {"do": "pay", …}`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::checkout::Shown;
use crate::events::{Delivery, Weather};
use crate::parameters::PARAMETERS;
use crate::stripe::Fault;
use crate::{Shared, WEBHOOK_SECRET};

/// What it is told to do.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Somebody types a card into a checkout page.
    Pay {
        session: String,
        card: String,
    },
    /// Somebody answers the bank: `complete` or `fail`.
    Authenticate {
        session: String,
        answer: String,
    },
    /// Ends what takes days.
    Settle {
        intent: String,
    },
    Dispute {
        intent: String,
    },
    WinDispute {
        dispute: String,
    },
    FailRefund {
        refund: String,
    },
    /// Answers the next requests that begin like this with a status.
    Fail {
        request: String,
        status: u16,
        times: usize,
    },
    /// Lets the next request that begins like this take effect, and breaks off.
    Close {
        request: String,
    },
    Weather {
        weather: Weather,
    },
    /// Time stands still at these seconds since 1970; whatever renews until then has renewed.
    Now {
        seconds: i64,
    },
    /// Whom events are sent to.
    Endpoint {
        url: String,
    },
    /// Sends what has not been taken yet; answers the statuses.
    Deliver {},
    /// Every event so far with its signature.
    Sealed {},
    /// The parameters that are taken.
    Parameters {},
}

pub(crate) async fn order(State(shared): State<Shared>, Json(order): Json<Order>) -> Response {
    if matches!(order, Order::Deliver {}) {
        return Json(json!({ "statuses": deliver(&shared).await })).into_response();
    }
    match obey(&shared, order) {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `None`: there is no such thing.
fn obey(shared: &Shared, order: Order) -> Option<Value> {
    let mut stripe = shared.lock();
    let shown = |shown: Shown| match shown {
        Shown::Form(problem) => json!({ "shown": "form", "problem": problem }),
        Shown::Question => json!({ "shown": "question" }),
        Shown::On(url) => json!({ "shown": "on", "url": url }),
        Shown::Ended => json!({ "shown": "ended" }),
    };
    Some(match order {
        Order::Pay { session, card } => shown(stripe.pay(&session, &card)),
        Order::Authenticate { session, answer } => shown(stripe.authenticate(&session, &answer)),
        Order::Settle { intent } => {
            stripe.get(&intent).filter(|intent| intent["status"] == "processing")?;
            stripe.settle(&intent, Ok(()));
            Value::Null
        }
        Order::Dispute { intent } => {
            stripe.get(&intent).filter(|intent| intent["status"] == "succeeded")?;
            json!({ "dispute": stripe.dispute(&intent) })
        }
        Order::WinDispute { dispute } => {
            stripe.get(&dispute)?;
            stripe.win_dispute(&dispute);
            Value::Null
        }
        Order::FailRefund { refund } => {
            stripe.get(&refund).filter(|refund| refund["status"] == "succeeded")?;
            stripe.fail_refund(&refund);
            Value::Null
        }
        Order::Fail { request, status, times } => {
            stripe.fail(&request, Fault::Status(status), times);
            Value::Null
        }
        Order::Close { request } => {
            stripe.fail(&request, Fault::CloseAfterEffect, 1);
            Value::Null
        }
        Order::Weather { weather } => {
            stripe.weather = weather;
            Value::Null
        }
        Order::Now { seconds } => {
            stripe.now = Some(seconds);
            stripe.renew_subscriptions();
            Value::Null
        }
        Order::Endpoint { url } => {
            stripe.endpoints.push(url);
            Value::Null
        }
        Order::Sealed {} => {
            let now = stripe.now();
            let seal = |event: &&Value| {
                let event = event["id"].as_str().unwrap_or_default().to_owned();
                let (body, signature) = stripe.sealed(&Delivery { at: now, event, forged: None }, now);
                json!({ "body": body, "signature": signature, "secret": WEBHOOK_SECRET })
            };
            stripe.all("event").iter().map(seal).collect()
        }
        Order::Parameters {} => PARAMETERS.iter().map(|(request, names)| (*request, json!(names))).collect(),
        Order::Deliver {} => return None,
    })
}

/// Sends every event that nobody has taken yet, in the weather's order, and tries those again at the next call that failed.
async fn deliver(shared: &Shared) -> Vec<u16> {
    let (deliveries, endpoints) = {
        let stripe = shared.lock();
        let new = |delivery: &Delivery| !stripe.told.contains(&delivery.event);
        (stripe.deliveries().into_iter().filter(new).collect::<Vec<_>>(), stripe.endpoints.clone())
    };
    // An error only says that a provider is already installed, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nothing here speaks TLS, so the machine's certificates are not needed.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let mut statuses = Vec::new();
    for delivery in deliveries {
        let (body, signature) = {
            let stripe = shared.lock();
            stripe.sealed(&delivery, stripe.now())
        };
        for endpoint in &endpoints {
            let request = client.post(endpoint).header("stripe-signature", &signature);
            let request = request.header("content-type", "application/json").body(body.clone());
            let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
            statuses.push(status);
            if delivery.forged.is_none() && status / 100 == 2 {
                shared.lock().told.insert(delivery.event.clone());
            }
        }
    }
    statuses
}
