//! Several enrichment providers asked in order, until one finds something usable.
//!
//! It owns the order and how their answers add up. A single call is `http`'s.
//!
//! Invariant: each provider is asked at most once per hold and under its own call number, so that asking the whole
//! list again repeats exactly the same calls.

use serde_json::Value;

use super::http::{Contact, Field, HttpProvider};
use super::{Outcome, Recovery};
use crate::config::EnrichmentConfig;

/// The enrichment providers in the order they are asked.
#[derive(Debug, Default)]
pub struct Enrichment(Vec<EnrichmentProvider>);

/// One of them.
#[derive(Debug)]
pub struct EnrichmentProvider {
    /// Its name in reports.
    pub name: String,
    /// The fields it is asked for, `contact` being one of them; `None`: all.
    pub fields: Option<Vec<String>>,
    /// What one successful call costs the operator, in millionths of the operator's currency.
    pub cost_micros: i64,
    http: HttpProvider,
}

impl Enrichment {
    /// Builds the clients; connects to nothing.
    pub fn new(configs: &[EnrichmentConfig]) -> Result<Enrichment, String> {
        let build = |config: &EnrichmentConfig| {
            Ok(EnrichmentProvider {
                name: config.name.clone(),
                fields: config.fields.clone(),
                cost_micros: config.cost_micros,
                http: HttpProvider::new(&config.name, &config.http)?,
            })
        };
        configs.iter().map(build).collect::<Result<_, String>>().map(Enrichment)
    }

    /// The providers, in order.
    pub fn providers(&self) -> &[EnrichmentProvider] {
        &self.0
    }

    /// What can be done when an outcome is unknown: the whole list can be asked again if each of them can.
    pub fn recovery(&self) -> Recovery {
        let repeatable = |provider: &EnrichmentProvider| provider.http.recovery() != Recovery::Neither;
        if self.0.iter().all(repeatable) { Recovery::Repeat } else { Recovery::Neither }
    }

    /// The contact of a lead. A verified address ends the search; an unverified one is kept in case nobody has better.
    ///
    /// The key of each call is `hold:position`.
    pub async fn contact(&self, lead: &Value, hold: &str) -> Outcome<Contact> {
        let mut tally = Tally::default();
        for (position, provider) in self.asked_for("contact") {
            match provider.http.contact(lead, &format!("{hold}:{position}")).await {
                Outcome::Done(contact) if contact.found => {
                    let contact = Contact { provider: provider.name.clone(), ..contact };
                    if contact.verified {
                        return Outcome::Done(contact);
                    }
                    tally.second_best.get_or_insert(contact);
                }
                other => tally.count(other),
            }
        }
        tally.conclude("contact")
    }

    /// The value of one field of a lead. The key of each call is `hold:position`.
    pub async fn field(&self, field: &str, lead: &Value, hold: &str) -> Outcome<Field> {
        let mut tally = Tally::default();
        for (position, provider) in self.asked_for(field) {
            match provider.http.field(field, lead, &format!("{hold}:{position}")).await {
                Outcome::Done(value) if value.found => {
                    return Outcome::Done(Field { provider: provider.name.clone(), ..value });
                }
                other => tally.count(other),
            }
        }
        tally.conclude(field)
    }

    fn asked_for(&self, field: &str) -> impl Iterator<Item = (usize, &EnrichmentProvider)> {
        let handles = move |provider: &EnrichmentProvider| match &provider.fields {
            Some(fields) => fields.iter().any(|handled| handled == field),
            None => true,
        };
        (1..).zip(&self.0).filter(move |(_, provider)| handles(provider))
    }
}

/// What the providers asked so far have said, none of it a usable result.
struct Tally<T> {
    second_best: Option<T>,
    worst: Option<Outcome<T>>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Tally { second_best: None, worst: None }
    }
}

impl<T> Tally<T> {
    fn count(&mut self, outcome: Outcome<T>) {
        if self.worst.as_ref().is_none_or(|worst| severity(&outcome) > severity(worst)) {
            self.worst = Some(outcome);
        }
    }

    /// Doubt outweighs everything, because the hold must wait for it; then whatever makes another try worthwhile;
    /// then "not found"; and only if no provider could read the item, that it failed.
    fn conclude(self, field: &str) -> Outcome<T> {
        match (self.second_best, self.worst) {
            (Some(found), _) => Outcome::Done(found),
            (None, Some(worst)) => worst,
            (None, None) => {
                Outcome::Unavailable { reason: format!("no enrichment provider handles {field}") }
            }
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
