//! One field of one lead, looked up by one provider after the other, under one hold.
//!
//! Owns whom to ask next: after an answer without use, after a crash, and in another attempt of the same piece. It does *not* end the
//! piece.
//!
//! Invariant: before a provider is asked, what those before it said is committed. So of all providers a crash leaves one at most of which
//! nobody knows whether it was asked, and whoever has said that there is nothing is not asked again.

use billing::{Hold, Time};
use serde_json::Value;

use super::calls::Called;
use crate::app::App;
use crate::breaker;
use crate::id;
use crate::outreach::{Asked, address, fits, lead_json, tidy};
use crate::providers::{EnrichmentProvider, Found, Outcome};
use crate::store::Error;
use crate::store::calls::{Call, Heard, Noted};
use crate::store::leads::{EmailState, Lead};
use crate::store::work::{Claim, Ending, Need};

/// Whether an earlier claim may have asked somebody under this hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Fresh,
    Again,
}

/// What a provider brought, as it is stored.
struct Filled {
    lead: Lead,
    sure: bool,
}

/// Looks a field up. `None`: somebody else has the piece now.
pub(super) async fn look_up(
    app: &App,
    claim: &Claim,
    hold: &Hold,
    (lead, field): (&Lead, &str),
    start: Start,
) -> Result<Option<Called>, Error> {
    let providers: Vec<_> = app.providers.enrichment.asked_for(field).collect();
    let several = providers.len() > 1 || start == Start::Again;
    let known = match several {
        true => app.store.calls_for(claim.workspace, claim.job.id, lead.id, field).await?,
        false => Vec::new(),
    };
    let (mut tally, mut heard) = (Tally::default(), Vec::new());
    let mut in_doubt = start == Start::Again;
    for (number, provider) in providers {
        if let Some(call) = known.iter().find(|call| counts(call, provider, hold)) {
            tally.count(said(call, lead, field));
            continue;
        }
        let piece = Piece { app, claim, hold, lead, field, number, provider };
        if std::mem::take(&mut in_doubt) {
            let outcome = match provider.may_be_asked_again() {
                true => piece.ask().await,
                false => {
                    Outcome::Unknown { reason: "the server stopped while the call was under way".to_owned() }
                }
            };
            heard.push(piece.heard(&outcome));
            if tally.count(outcome) {
                break;
            }
            continue;
        }
        if let Some(until) = piece.away_until() {
            let (outcome, call) = piece.passed(until);
            heard.push(call);
            tally.count(outcome);
            continue;
        }
        if !heard.is_empty() && !app.store.note_calls(claim, hold.id, std::mem::take(&mut heard)).await? {
            return Ok(None);
        }
        let outcome = piece.ask().await;
        heard.push(piece.heard(&outcome));
        if tally.count(outcome) {
            break;
        }
    }
    Ok(Some(Called { ending: tally.conclude(field), heard }))
}

/// Whether a call that was noted stands for asking its provider: under this hold any does, under an earlier one of the same piece only an
/// answer that would be the same again.
fn counts(noted: &Noted, provider: &EnrichmentProvider, hold: &Hold) -> bool {
    let is_final = matches!(noted.call.heard, Heard::Nothing | Heard::Failed) || noted.call.kept.is_some();
    noted.call.provider == provider.name && (noted.about.hold == hold.id || is_final)
}

/// What a noted call said.
fn said(noted: &Noted, lead: &Lead, field: &str) -> Outcome<Option<Filled>> {
    let call = &noted.call;
    let reason = call.detail.clone();
    match call.heard {
        Heard::Found | Heard::Nothing => {
            let kept =
                call.kept.as_ref().map(|kept| Found { value: Value::String(kept.clone()), sure: false });
            Outcome::Done(kept.and_then(|found| fill(lead, field, found)))
        }
        Heard::Failed => Outcome::ItemFailed { reason },
        Heard::Refused => Outcome::Unavailable { reason },
        Heard::Later | Heard::Passed => Outcome::later(reason),
        Heard::Unknown => Outcome::Unknown { reason },
    }
}

/// One provider's turn.
struct Piece<'a> {
    app: &'a App,
    claim: &'a Claim,
    hold: &'a Hold,
    lead: &'a Lead,
    field: &'a str,
    number: usize,
    provider: &'a EnrichmentProvider,
}

impl Piece<'_> {
    async fn ask(&self) -> Outcome<Option<Filled>> {
        let key = format!("{}:{}", id::inside("hold", self.claim.workspace, self.hold.id.0), self.number);
        let lead = lead_json(self.lead, self.claim.workspace);
        let outcome = self.provider.look_up(self.field, &lead, &key).await;
        let heard = match &outcome {
            Outcome::TryLater { .. } | Outcome::Unknown { .. } => breaker::Heard::Nothing,
            _ => breaker::Heard::Answer,
        };
        let (need, now) = (Need::Enrichment(self.number), self.app.clock.now());
        self.app.breakers.heard(self.claim.workspace, need, heard, now);
        outcome.map(|found| found.and_then(|found| fill(self.lead, self.field, found)))
    }

    fn asked(&self) -> Asked<'_> {
        Asked { provider: &self.provider.name, number: self.number, cost: self.provider.cost }
    }

    fn heard(&self, outcome: &Outcome<Option<Filled>>) -> Call {
        let call = self.asked().heard(outcome, |filled| i64::from(filled.is_some()));
        match outcome {
            Outcome::Done(Some(Filled { lead, sure: false })) => Call { kept: lead.email.clone(), ..call },
            _ => call,
        }
    }

    fn away_until(&self) -> Option<Time> {
        let need = Need::Enrichment(self.number);
        self.app.breakers.away_until(self.claim.workspace, need, self.app.clock.now())
    }

    fn passed(&self, until: Time) -> (Outcome<Option<Filled>>, Call) {
        let reason = format!("{} does not answer and is left alone", self.provider.name);
        let after_seconds = (until.0 - self.app.clock.now().0) / 1_000_000 + 1;
        let outcome = Outcome::TryLater { reason, after_seconds };
        let call = Call { heard: Heard::Passed, ..self.heard(&outcome) };
        (outcome, call)
    }
}

/// What was found as part of the lead; `None`: it is of no use.
fn fill(lead: &Lead, field: &str, found: Found) -> Option<Filled> {
    let mut filled = Lead { id: lead.id, ..Lead::default() };
    match (field, found.value.as_str()) {
        // The one spelling that imports are compared with.
        ("contact", email) => {
            filled.email = Some(address(email?.trim()).ok()?);
            // One that mail came back from is not found anew.
            if lead.email_state == EmailState::Bounced && lead.email == filled.email {
                return None;
            }
            filled.email_state = if found.sure { EmailState::Verified } else { EmailState::Unverified };
        }
        ("title", Some(text)) => filled.title = Some(tidy(text)).filter(|text| !text.is_empty())?,
        ("company", Some(text)) => filled.company = Some(tidy(text)).filter(|text| !text.is_empty())?,
        // What is too large to be kept was not filled.
        _ if !fits(field, &found.value) => return None,
        _ => drop(filled.fields.insert(field.to_owned(), found.value)),
    }
    Some(Filled { lead: filled, sure: found.sure })
}

/// What the providers said so far.
#[derive(Default)]
struct Tally {
    best: Option<Filled>,
    worst: Option<Outcome<Option<Filled>>>,
}

impl Tally {
    /// Counts an answer; `true`: there is no use in asking anybody else.
    fn count(&mut self, outcome: Outcome<Option<Filled>>) -> bool {
        if let Outcome::Done(Some(filled)) = outcome {
            let sure = filled.sure;
            if sure || self.best.is_none() {
                self.best = Some(filled);
            }
            return sure;
        }
        let waits = |outcome: &Outcome<_>| match outcome {
            Outcome::TryLater { after_seconds, .. } => *after_seconds,
            _ => 0,
        };
        let weight = |outcome: &Outcome<_>| (severity(outcome), waits(outcome));
        if self.worst.as_ref().is_none_or(|worst| weight(&outcome) > weight(worst)) {
            self.worst = Some(outcome);
        }
        false
    }

    /// Something found ends it. Else doubt outweighs everything, because the hold must wait for it; then whatever makes another try
    /// worthwhile; then "not found"; and only if no provider could read the item, that it failed.
    fn conclude(self, field: &str) -> Ending {
        if let Some(Filled { lead, sure }) = self.best {
            return Ending::LookedUp { filled: Some(Box::new(lead)), charged: sure };
        }
        match self.worst {
            Some(Outcome::Done(_)) => Ending::LookedUp { filled: None, charged: false },
            Some(Outcome::ItemFailed { reason }) => Ending::Failed(reason),
            Some(Outcome::Unavailable { reason }) => Ending::Unavailable(reason),
            Some(Outcome::TryLater { reason, after_seconds }) => Ending::Later(reason, after_seconds),
            Some(Outcome::Unknown { reason }) => Ending::Doubt(reason),
            None => Ending::Unavailable(format!("no enrichment provider handles {field}")),
        }
    }
}

fn severity<T>(outcome: &Outcome<T>) -> u8 {
    match outcome {
        Outcome::ItemFailed { .. } => 0,
        Outcome::Done(_) => 1,
        Outcome::Unavailable { .. } => 2,
        Outcome::TryLater { .. } => 3,
        Outcome::Unknown { .. } => 4,
    }
}
