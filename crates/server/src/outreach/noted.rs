//! A provider's call as it is noted, for the runner and for the calls that a person waits for. Pure.

use crate::config::Cost;
use crate::providers::Outcome;
use crate::store::calls::{Call, Heard};

/// Who was asked: the name, the number in the key, and what it costs.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its name in reports.
    pub provider: &'a str,
    /// The number in the idempotency key.
    pub number: usize,
    /// What it costs the operator.
    pub cost: Cost,
}

impl<'a> Asked<'a> {
    /// The only provider of its kind.
    pub fn alone(provider: &'a str, cost: Cost) -> Asked<'a> {
        Asked { provider, number: 1, cost }
    }

    /// The call, by what came of it; `results` counts what it brought.
    pub fn heard<T>(self, outcome: &Outcome<T>, results: impl FnOnce(&T) -> i64) -> Call {
        let (heard, results, detail) = match outcome {
            Outcome::Done(value) => match results(value) {
                0 => (Heard::Nothing, Some(0), ""),
                results => (Heard::Found, Some(results), ""),
            },
            // The provider worked on it, or may have.
            Outcome::ItemFailed { reason } => (Heard::Failed, Some(0), reason.as_str()),
            Outcome::Unknown { reason } => (Heard::Unknown, Some(0), reason.as_str()),
            Outcome::Unavailable { reason } => (Heard::Refused, None, reason.as_str()),
            Outcome::TryLater { reason, .. } => (Heard::Later, None, reason.as_str()),
        };
        Call {
            number: self.number as i64,
            provider: self.provider.to_owned(),
            heard,
            units: results.unwrap_or(0),
            cost: self.cost.of(results),
            detail: detail.to_owned(),
            kept: None,
        }
    }
}
