//! Grants, revocations and adjustments: what an operator gives and takes, with a reason.

use axum::extract::State;
use axum::http::StatusCode;
use billing::ledger::{Command, GrantTerms};
use billing::{Amount, GrantKind, Seq};
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::entries::moment;
use super::error::Error;
use super::extract::{self, IdempotencyKey, Json, KeyHeader, Path};
use super::{Answer, credits, with_available};
use crate::app::App;
use crate::clock::rfc3339;
use crate::id;
use crate::store::committer::{KeyKind, Post};

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
pub struct Create {
    #[schema(minimum = 1)]
    credits: i64,
    kind: Kind,
    #[schema(max_length = 500)]
    reason: String,
    /// RFC 3339; at once by default.
    effective_at: Option<String>,
    /// RFC 3339; never by default.
    expires_at: Option<String>,
    /// Lower pays first; 0 by default.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
}

#[derive(Deserialize, Serialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GrantKind)]
pub enum Kind {
    Promo,
    Goodwill,
    Trial,
    Bonus,
    Plan,
    Purchased,
}

impl From<Kind> for GrantKind {
    fn from(kind: Kind) -> GrantKind {
        match kind {
            Kind::Promo => GrantKind::Promo,
            Kind::Goodwill => GrantKind::Goodwill,
            Kind::Trial => GrantKind::Trial,
            Kind::Bonus => GrantKind::Bonus,
            Kind::Plan => GrantKind::Plan,
            Kind::Purchased => GrantKind::Purchased,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Granted {
    id: String,
    kind: &'static str,
    credits: i64,
    priority: i32,
    effective_at: String,
    expires_at: Option<String>,
    created_at: String,
}

/// Add a lot of credits.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/grants", params(("ws" = String, Path), KeyHeader), request_body = Create, responses((status = 201, body = Granted)))]
pub async fn create(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Create>,
) -> Answer {
    here.caller.operator()?;
    let credits = amount("credits", body.credits)?;
    extract::text("reason", &body.reason, 500)?;
    let priority = body.priority.unwrap_or(0);
    if !(-1_000..=1_000).contains(&priority) {
        return Err(Error::field("priority", "must be a whole number from -1000 to 1000"));
    }
    let effective_at = moment("effective_at", body.effective_at.as_deref())?.unwrap_or(app.clock.now());
    let expires_at = moment("expires_at", body.expires_at.as_deref())?;
    let terms = GrantTerms { credits, kind: body.kind.into(), priority, effective_at, expires_at };
    let mut post = Post::new(here.workspace, Command::Grant(terms), &here.caller.actor());
    post.key = Some(extract::key(KeyKind::Grant, &key, &body));
    post.reason = Some(body.reason.as_str().into());
    let answer = app.store.post(post).await?;
    app.nudge();
    let entry = &answer.entry.as_ref().ok_or_else(Error::not_found)?.entry;
    let terms = entry.terms.as_ref().ok_or_else(Error::not_found)?;
    let granted = Granted {
        id: id::inside("grant", here.workspace, entry.seq.0),
        kind: crate::store::codec::grant_kind_name(terms.kind),
        credits: terms.credits.get(),
        priority: terms.priority,
        effective_at: rfc3339(terms.effective_at),
        expires_at: terms.expires_at.map(rfc3339),
        created_at: rfc3339(entry.at),
    };
    Ok(with_available(StatusCode::CREATED, &granted, answer.available, answer.replayed.into()))
}

fn amount(field: &str, credits: i64) -> Result<Amount, Error> {
    Amount::new(credits)
        .ok_or_else(|| Error::field(field, "must be a whole number from 1 to 1,000,000,000,000,000"))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Revocation)]
pub struct Reason {
    #[schema(max_length = 500)]
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RevokedGrant)]
pub struct Revoked {
    #[serde(flatten)]
    grant: credits::Grant,
    /// Credits taken back so far.
    revoked: i64,
}

/// Take back what is left of a grant, and whatever returns to it.
#[utoipa::path(post, path = "/v1/grants/{id}/revoke", params(("id" = String, Path)), request_body = Reason, responses((status = 200, body = Revoked)))]
pub async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(grant): Path<String>,
    Json(body): Json<Reason>,
) -> Answer {
    caller.operator()?;
    extract::text("reason", &body.reason, 500)?;
    let (workspace, grant) = caller.ledger("grant", &grant)?;
    let mut post = Post::new(workspace, Command::Revoke(grant), &caller.actor());
    post.reason = Some(body.reason.into());
    let answer = app.store.post(post).await?;
    let grant = app.store.grant(workspace, grant).await?;
    let body = Revoked { revoked: grant.revoked, grant: credits::grant(workspace, &grant) };
    Ok(with_available(StatusCode::OK, &body, answer.available, super::Fresh::Yes))
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAdjustment)]
pub struct Adjust {
    /// Signed, not 0.
    credits: i64,
    #[schema(max_length = 500)]
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Adjustment)]
pub struct Adjusted {
    /// The entry's number in the ledger.
    seq: i64,
    credits: i64,
    balance_after: i64,
    /// The grant that an upward adjustment made.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    created_at: String,
}

/// Correct the balance, with a reason.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/adjustments", params(("ws" = String, Path), KeyHeader), request_body = Adjust, responses((status = 201, body = Adjusted)))]
pub async fn adjust(
    State(app): State<App>,
    here: In,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<Adjust>,
) -> Answer {
    here.caller.operator()?;
    extract::text("reason", &body.reason, 500)?;
    let mut post = Post::new(here.workspace, Command::Adjust(body.credits), &here.caller.actor());
    post.key = Some(extract::key(KeyKind::Adjust, &key, &body));
    post.reason = Some(body.reason.as_str().into());
    let answer = app.store.post(post).await?;
    app.nudge();
    let entry = &answer.entry.as_ref().ok_or_else(Error::not_found)?.entry;
    let grant = entry.grant.map(|Seq(grant)| id::inside("grant", here.workspace, grant));
    let adjusted = Adjusted {
        seq: entry.seq.0,
        credits: entry.amount,
        balance_after: entry.balance,
        grant,
        created_at: rfc3339(entry.at),
    };
    Ok(with_available(StatusCode::CREATED, &adjusted, answer.available, answer.replayed.into()))
}
