//! Health, metrics, the price list, and the manual clock.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::caller::Caller;
use super::error::Error;
use super::extract::Json;
use super::{Answer, json as answer_json};
use crate::app::App;
use crate::catalog::Catalog;
use crate::clock::rfc3339;
use crate::health::{Gauge, Health};
use crate::scheduler;

/// Alive.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, body = Value)))]
pub async fn healthz() -> Answer {
    Ok(answer_json(StatusCode::OK, &json!({ "status": "alive" })))
}

/// Can write.
#[utoipa::path(get, path = "/readyz", security(()), responses((status = 200, body = Value)))]
pub async fn readyz(State(app): State<App>) -> Answer {
    app.store.ready().await?;
    Ok(answer_json(StatusCode::OK, &json!({ "status": "ready" })))
}

/// Counters and queues in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", security(()), responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(State(app): State<App>) -> Answer {
    let served = &app.served;
    let counters = [
        ("scrip_requests_total", "Requests answered.", &served.requests),
        ("scrip_requests_refused_total", "Requests answered with a 4xx.", &served.refused),
        ("scrip_requests_failed_total", "Requests answered with a 5xx.", &served.failed),
        ("scrip_pieces_total", "Pieces of campaigns, searches and jobs worked on.", &served.pieces),
        ("scrip_mails_total", "Notices handed to the mail server.", &served.mails),
    ];
    let mut text = String::new();
    for (name, help, counter) in counters {
        let value = counter.load(Ordering::Relaxed);
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
    }
    for Gauge { name, label, value, .. } in Health::read(&app).await?.gauges() {
        let _ = write!(text, "# HELP {name} {label}.\n# TYPE {name} gauge\n{name} {value}\n");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The price list.
#[utoipa::path(get, path = "/v1/catalog", responses((status = 200, body = Catalog)))]
pub async fn catalog(State(app): State<App>, _: Caller) -> Answer {
    Ok(answer_json(StatusCode::OK, &app.catalog()))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    #[schema(minimum = 0, maximum = 315_360_000)]
    seconds: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Now {
    now: String,
}

/// Let a manual clock's time pass; everything due in it happens before the answer.
#[utoipa::path(post, path = "/v1/clock/advance", request_body = Advance, responses((status = 200, body = Now)))]
pub async fn advance(State(app): State<App>, caller: Caller, Json(body): Json<Advance>) -> Answer {
    caller.operator()?;
    if !app.clock.is_manual() {
        return Err(Error::new(
            StatusCode::CONFLICT,
            "clock_not_manual",
            "the server runs on the system's clock",
        ));
    }
    if !(0..=315_360_000).contains(&body.seconds) {
        return Err(Error::field("seconds", "must be a whole number from 0 to 315360000"));
    }
    // The work goes on when the caller hangs up: half an advance would leave time between two due moments.
    let task = tokio::spawn(async move { scheduler::advance(&app, body.seconds).await });
    let now = task
        .await
        .map_err(|_| Error::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the loops stopped"))??;
    Ok(answer_json(StatusCode::OK, &Now { now: rfc3339(now) }))
}
