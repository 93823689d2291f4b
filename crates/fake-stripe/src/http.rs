//! The wire: keys, faults, and the routes of the API and of its pages.

use std::io;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::checkout::Shown;
use crate::stripe::{Ask, Fault};
use crate::{SECRET_KEY, Shared, control, form};

pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/{*path}", any(call))
        .route("/c/pay/{session}", get(page).post(paid))
        .route(
            "/p/session/{id}",
            get(|| async { Html("<!doctype html><html lang=en><link rel=icon href=data:,><title>Portal</title><h1>Portal</h1>") }),
        )
        .route("/_fake", post(control::order))
        .with_state(shared)
}

async fn call(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = uri.path().trim_start_matches("/v1/");
    let request = format!("{method} {}", uri.path());
    let authorization = header("authorization");
    let (fault, status, answer, replayed, serial) = {
        let mut stripe = shared.lock();
        stripe.calls.push(request.clone());
        if authorization != format!("Bearer {SECRET_KEY}") {
            let given = authorization.rsplit(' ').next().unwrap_or_default();
            let message = format!("Invalid API Key provided: {}", given.get(..8).unwrap_or_default());
            return json_answer(
                401,
                &json!({ "error": { "type": "invalid_request_error", "message": message } }),
            );
        }
        let fault = stripe.take_fault(&request);
        match fault {
            Some(Fault::Status(status)) => return failed(status),
            Some(Fault::Hang) => (fault, 0, Value::Null, false, 0),
            _ => {
                let text = if method == Method::GET {
                    uri.query().unwrap_or_default().into()
                } else {
                    String::from_utf8_lossy(&body)
                };
                let ask = Ask {
                    method: method.as_str(),
                    path,
                    parameters: form::parse(&text),
                    key: header("idempotency-key"),
                };
                let (status, answer, replayed) = stripe.answer(&ask);
                if let Some(watcher) = &stripe.watcher {
                    watcher(&stripe);
                }
                (fault, status, answer, replayed, stripe.serial)
            }
        }
    };
    match fault {
        Some(Fault::Hang | Fault::HangAfterEffect) => std::future::pending().await,
        Some(Fault::CloseAfterEffect) => {
            // A body that fails at once makes the server close the connection in the middle of its answer.
            let broken =
                futures_util::stream::once(async { Err::<Bytes, _>(io::Error::other("closed on purpose")) });
            Response::new(Body::from_stream(broken))
        }
        Some(Fault::GarbleAfterEffect) => "{\"id\":".into_response(),
        _ => {
            let mut response = json_answer(status, &answer);
            let headers = response.headers_mut();
            let id = format!("req_fake{serial}");
            headers.insert("request-id", id.parse().expect("visible characters"));
            if replayed {
                headers.insert("idempotent-replayed", header::HeaderValue::from_static("true"));
            }
            response
        }
    }
}

fn failed(status: u16) -> Response {
    let error = match status {
        429 => {
            json!({ "type": "invalid_request_error", "code": "rate_limit", "message": "Request rate limit exceeded." })
        }
        409 => {
            json!({ "type": "idempotency_error", "code": "idempotency_key_in_use", "message": "There is currently another in-progress request using this Idempotent Key." })
        }
        _ => json!({ "type": "api_error", "message": "Something went wrong on Stripe's end." }),
    };
    json_answer(status, &json!({ "error": error }))
}

fn json_answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn page(State(shared): State<Shared>, Path(session): Path<String>) -> Response {
    let stripe = shared.lock();
    let open = stripe.get(&session).is_some_and(|session| session["status"] == "open");
    let shown = if open { Shown::Form(String::new()) } else { Shown::Ended };
    Html(stripe.page(&session, &shown)).into_response()
}

#[derive(Deserialize)]
struct Pressed {
    card: Option<String>,
    answer: Option<String>,
}

async fn paid(
    State(shared): State<Shared>,
    Path(session): Path<String>,
    Form(pressed): Form<Pressed>,
) -> Response {
    let mut stripe = shared.lock();
    let shown = match (&pressed.card, &pressed.answer) {
        (_, Some(answer)) => stripe.authenticate(&session, answer),
        (Some(card), None) => stripe.pay(&session, card),
        (None, None) => Shown::Form("Choose a card.".to_owned()),
    };
    match &shown {
        Shown::On(url) => Redirect::to(url).into_response(),
        shown => Html(stripe.page(&session, shown)).into_response(),
    }
}
