//! The requests that a charge is made of, led to their handlers without the router: it and what it hands over were a quarter
//! of the work on them.
//!
//! Owns no rule: the handlers and checks are those of the routes, in the same order. An address that it does not know letter
//! by letter, or another method, is the router's.

use axum::extract::State;
use axum::http::{Method, Request};
use hyper::body::Incoming;

use super::caller::{Caller, In};
use super::extract::{self, IdempotencyKey, Json, Path};
use super::{Answer, batch, holds};
use crate::app::App;
use crate::store::people::Scope;

/// What is asked.
pub enum Shortcut {
    Batch,
    Hold,
    Charge,
    Dispatch,
    Settle,
    Release,
}

/// What a request asks, and the id in its address.
pub fn find(request: &Request<Incoming>) -> Option<(Shortcut, String)> {
    let path = request.uri().path().strip_prefix("/v1/")?;
    if request.method() != Method::POST || request.uri().query().is_some() {
        return None;
    }
    if path == "batch" {
        return Some((Shortcut::Batch, String::new()));
    }
    let (kind, rest) = path.split_once('/')?;
    let (id, what) = rest.split_once('/')?;
    let shortcut = match (kind, what) {
        ("workspaces", "holds") => Shortcut::Hold,
        ("workspaces", "charges") => Shortcut::Charge,
        ("holds", "dispatch") => Shortcut::Dispatch,
        ("holds", "settle") => Shortcut::Settle,
        ("holds", "release") => Shortcut::Release,
        _ => return None,
    };
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain.then(|| (shortcut, id.to_owned()))
}

/// Answers it.
pub async fn take(app: &App, shortcut: Shortcut, id: String, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let (state, caller) = (State(app.clone()), Caller::of(app, &parts.headers).await?);
    caller.may(Scope::Charge)?;
    match shortcut {
        Shortcut::Batch => batch::answer(app, &caller, &extract::bytes(body).await?).await,
        Shortcut::Hold | Shortcut::Charge => {
            let here = In { workspace: caller.workspace(&id)?, caller };
            let key = IdempotencyKey(extract::header_key(&parts.headers)?.to_owned());
            // Nothing of the head is kept while the answer is waited for, so that its buffer can be used again.
            drop(parts);
            let body = Json(extract::json(body).await?);
            match shortcut {
                Shortcut::Hold => holds::create(state, here, key, body).await,
                _ => holds::charge(state, here, key, body).await,
            }
        }
        Shortcut::Dispatch => holds::dispatch(state, caller, Path(id), extract::nothing(body).await?).await,
        Shortcut::Settle => {
            drop(parts);
            let body = Json(extract::json(body).await?);
            holds::settle(state, caller, Path(id), body).await
        }
        Shortcut::Release => holds::release(state, caller, Path(id), extract::nothing(body).await?).await,
    }
}
