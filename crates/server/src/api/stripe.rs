//! Stripe's events: the only request that is believed by its signature.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;

use super::error::Error;
use super::{Answer, json};
use crate::app::App;
use crate::money::{self, Trouble};
use crate::payments::stripe::Forged;
use crate::payments::{Failure, Payments};
use crate::{reconcile, store};

/// The largest event that is read, in bytes.
const MAX_EVENT: usize = 1024 * 1024;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = StripeEventReceived)]
pub struct Received {
    received: bool,
}

/// What Stripe tells. It is only a hint: the payment is asked for before anything changes.
#[utoipa::path(post, path = "/v1/payments/stripe/events", security(()), params(("Stripe-Signature" = String, Header)), request_body(content = String, content_type = "application/json; charset=utf-8"), responses((status = 200, body = Received)))]
pub async fn events(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let Payments::Stripe(stripe) = money::provider(&app)? else { return Err(Error::not_found()) };
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = Limited::new(body, MAX_EVENT).collect().await;
    let body = body.map_err(|_| refused("the event could not be read, or is larger than 1 MiB"))?.to_bytes();
    let hint = stripe.hint(&body, signature, app.clock.now()).map_err(|forged| {
        tracing::warn!(?forged, "an event was refused");
        refused(match forged {
            Forged::Signature => "the signature is not of this body with our secret",
            Forged::Stale => "the signature is older than 300 seconds, or from the future",
            Forged::Garbled => "the body is no event",
            Forged::OtherMode => "the event is of the other mode, test or live",
            Forged::OtherAccount => "the event is of another account",
        })
    })?;
    if let Some(hint) = hint {
        match reconcile::heard(&app, stripe, &hint).await {
            Ok(()) => app.nudge(),
            // What contradicts our own order is refused; whatever else went wrong is told again later.
            Err(Trouble::Store(store::Error::Conflict(_, why))) => return Err(refused(why)),
            Err(Trouble::Provider(Failure::Refused(why))) => return Err(refused(&why)),
            Err(trouble) => return Err(trouble.into()),
        }
    }
    Ok(json(StatusCode::OK, &Received { received: true }))
}

fn refused(why: &str) -> Error {
    Error::new(StatusCode::BAD_REQUEST, "event_refused", why)
}
