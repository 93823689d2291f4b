//! The enrichment providers, in the order in which they are asked.
//!
//! It owns who looks up what, and under which number. A single call is `http`'s; whom to ask after whom is decided elsewhere.
//!
//! Invariant: a provider has the same number for every field, so a call has the same key whenever it is made again.

use serde_json::Value;

use super::http::{Contact, Field, HttpProvider};
use super::{Outcome, Recovery};
use crate::config::{Cost, EnrichmentConfig};

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
    /// What it costs the operator.
    pub cost: Cost,
    http: HttpProvider,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// An address, or the value of a field.
    pub value: Value,
    /// Whether the provider vouches for it; always, but for an address.
    pub sure: bool,
}

impl Enrichment {
    /// Builds the clients; connects to nothing.
    pub fn new(configs: &[EnrichmentConfig]) -> Result<Enrichment, String> {
        let build = |config: &EnrichmentConfig| {
            Ok(EnrichmentProvider {
                name: config.name.clone(),
                fields: config.fields.clone(),
                cost: config.cost,
                http: HttpProvider::new(&config.name, &config.http)?,
            })
        };
        configs.iter().map(build).collect::<Result<_, String>>().map(Enrichment)
    }

    /// The providers, in order.
    pub fn providers(&self) -> &[EnrichmentProvider] {
        &self.0
    }

    /// Those that look a field up, in order, each with the number of its call.
    pub fn asked_for(&self, field: &str) -> impl Iterator<Item = (usize, &EnrichmentProvider)> {
        let handles = move |provider: &EnrichmentProvider| match &provider.fields {
            Some(fields) => fields.iter().any(|handled| handled == field),
            None => true,
        };
        (1..).zip(&self.0).filter(move |(_, provider)| handles(provider))
    }
}

impl EnrichmentProvider {
    /// Whether a call that may have been made can be made again: a look-up changes nothing outside, so it can where its provider
    /// keeps track of keys.
    pub fn may_be_asked_again(&self) -> bool {
        self.http.recovery() != Recovery::Neither
    }

    /// Looks a field of a lead up; `contact` is its address. `None`: there is nothing.
    pub async fn look_up(&self, field: &str, lead: &Value, key: &str) -> Outcome<Option<Found>> {
        if field == "contact" {
            let found = |contact: Contact| {
                let email = contact.email.filter(|_| contact.found)?;
                Some(Found { value: Value::String(email), sure: contact.verified })
            };
            return self.http.contact(lead, key).await.map(found);
        }
        let found =
            |answer: Field| answer.value.filter(|_| answer.found).map(|value| Found { value, sure: true });
        self.http.field(field, lead, key).await.map(found)
    }
}
