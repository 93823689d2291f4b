//! The only place where a refusal becomes a status and a body: `application/problem+json`.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use billing::{HoldStatus, Refusal};
use serde_json::{Map, Value, json};

use super::budgets;
use crate::money::Trouble;
use crate::outreach::{Failure, Fault};
use crate::payments::Failure as Unpaid;
use crate::{id, store};

/// A lawful no, or a failure, as callers see it.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    facts: Map<String, Value>,
}

impl Error {
    /// An error with a status, a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Error {
        Error { status, code, detail: detail.into(), field: None, facts: Map::new() }
    }

    /// A field that is not acceptable.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Error {
        let mut error = Error::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail);
        error.field = Some(field.into());
        error
    }

    /// The answer for what does not exist and for what is somebody else's: they look the same.
    pub fn not_found() -> Error {
        Error::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here")
    }

    /// A request that broke on our side.
    pub fn broke() -> Error {
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "this request broke")
    }

    /// Nobody knows who is calling.
    pub fn unauthorized() -> Error {
        Error::new(StatusCode::UNAUTHORIZED, "unauthorized", "send a valid key as Authorization: Bearer KEY")
    }

    /// The caller is known and may not do this.
    pub fn forbidden() -> Error {
        Error::new(StatusCode::FORBIDDEN, "forbidden", "this needs the operator's key")
    }

    /// The caller's key may do less than this.
    pub fn beyond_scope(needed: &'static str) -> Error {
        let detail = format!("this needs a key with the scope {needed}");
        Error::new(StatusCode::FORBIDDEN, "forbidden", detail).fact("needed_scope", needed)
    }

    /// There is no provider for what was asked.
    pub fn not_configured(what: &str) -> Error {
        let detail = format!("no {what} provider is configured");
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "provider_not_configured", detail)
    }

    /// The same error about a named field.
    pub fn at(mut self, field: impl Into<String>) -> Error {
        self.field = Some(field.into());
        self
    }

    /// The same error with one more fact.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Error {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// The same error under another code.
    pub fn code(mut self, code: &'static str) -> Error {
        self.code = code;
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// A sentence for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem document.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:scrip:problem:{}", self.code),
            "title": self.code.replace('_', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(field) = &self.field {
            body["field"] = json!(field);
        }
        for (name, value) in &self.facts {
            body[name] = value.clone();
        }
        body
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::field(fault.field, fault.reason)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::NotConfigured(what) => Error::not_configured(what),
            Failure::Provider(reason) => Error::new(
                StatusCode::FAILED_DEPENDENCY,
                "provider_failed",
                "the provider failed; nothing was charged",
            )
            .fact("reason", reason),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Store(error) => error.into(),
            Trouble::NotConfigured => Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "payments_not_configured",
                "this server takes no payments: [payments] is not configured",
            ),
            Trouble::Provider(Unpaid::Refused(reason)) => {
                Error::new(StatusCode::CONFLICT, "payment_refused", reason)
            }
            Trouble::Provider(Unpaid::Unknown(why)) => {
                tracing::warn!(why, "the payment provider gave no answer");
                let detail = "the payment provider did not answer; ask again with the same key";
                Error::new(StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable", detail)
            }
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Refused(refusal) => refusal.into(),
            store::Error::NotFound => Error::not_found(),
            store::Error::Conflict(code, detail) => Error::new(StatusCode::CONFLICT, code, detail),
            store::Error::Invalid(field, detail) => Error::field(field, detail),
            store::Error::OverCap { workspace, campaign, limit, used, needed } => Error::new(
                StatusCode::PAYMENT_REQUIRED,
                "budget_exceeded",
                "the campaign's credit cap does not allow this",
            )
            .fact("scope", "campaign")
            .fact("label", id::inside("camp", workspace, campaign))
            .fact("per", "total")
            .fact("limit", limit)
            .fact("used", used)
            .fact("needed", needed),
            store::Error::OverBudget(over) => Error::new(
                StatusCode::PAYMENT_REQUIRED,
                "budget_exceeded",
                format!(
                    "a budget of {} credits does not allow this: {} are used or held, and this needs {}",
                    over.limit, over.used, over.needed
                ),
            )
            .fact("scope", budgets::scope_name(over.scope))
            .fact("label", over.label.as_deref())
            .fact("per", budgets::per_name(over.per))
            .fact("limit", over.limit)
            .fact("used", over.used)
            .fact("needed", over.needed),
            store::Error::Unavailable(why) | store::Error::Again(why) => {
                Error::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why)
            }
            store::Error::Engine(error) | store::Error::Broken(error) => {
                tracing::error!(%error, "the database failed");
                Error::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the database did not answer; try again",
                )
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let code = refusal.code();
        let unprocessable = |detail: &str| Error::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        match refusal {
            Refusal::InvalidField { field, reason } => Error::field(field, reason),
            Refusal::IdempotencyKeyReused => {
                unprocessable("this Idempotency-Key was used for a different command").at("Idempotency-Key")
            }
            Refusal::GrantNotFound | Refusal::HoldNotFound => Error::not_found(),
            Refusal::HoldNotOpen { status } => {
                Error::new(StatusCode::CONFLICT, code, "the hold has already ended in another way")
                    .fact("hold_status", status_name(status))
                    .fact("hold", json!({ "status": status_name(status) }))
            }
            Refusal::StaleEpoch => {
                Error::new(StatusCode::CONFLICT, code, "another runner has taken this over")
            }
            Refusal::SettleExceedsHold { held } => {
                unprocessable("more than the hold covers").at("quantity").fact("held_quantity", held)
            }
            Refusal::RefundExceedsSettled { refundable } => unprocessable("more than is still charged")
                .at("quantity")
                .fact("refundable_quantity", refundable),
            Refusal::TooManyGrants | Refusal::TooManyOpenHolds => Error::new(
                StatusCode::TOO_MANY_REQUESTS,
                code,
                "the account has as many of these as it may have",
            ),
            Refusal::InsufficientCredits { needed, available, debt } => Error::new(
                StatusCode::PAYMENT_REQUIRED,
                code,
                format!("this needs {needed} credits, {available} are available"),
            )
            .fact("needed", needed)
            .fact("available", available)
            .fact("shortfall", shortfall(needed, available, debt)),
        }
    }
}

/// How many credits must come in before so many can be spent: what is owed is repaid first.
pub fn shortfall(needed: i64, available: i64, debt: i64) -> i64 {
    if needed <= available { 0 } else { needed - available + debt }
}

/// A hold's status on the wire.
pub fn status_name(status: HoldStatus) -> &'static str {
    match status {
        HoldStatus::Open => "open",
        HoldStatus::Dispatched => "dispatched",
        HoldStatus::InDoubt => "in_doubt",
        HoldStatus::Settled => "settled",
        HoldStatus::Released => "released",
    }
}
