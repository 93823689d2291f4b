//! What is read of Stripe's objects: only the fields that are used, so that a new one never breaks anything.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A page of a list, newest first.
#[derive(Deserialize)]
pub(super) struct List {
    pub data: Vec<Value>,
    #[serde(default)]
    pub has_more: bool,
}

/// The id of an object, whether the object was expanded or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named(pub String);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let id = value.as_str().or_else(|| value["id"].as_str());
        id.map(|id| Named(id.to_owned())).ok_or_else(|| serde::de::Error::custom("an id"))
    }
}

#[derive(Deserialize)]
pub(super) struct Account {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct Customer {
    #[serde(default)]
    pub invoice_settings: InvoiceSettings,
}

#[derive(Deserialize, Default)]
pub(super) struct InvoiceSettings {
    #[serde(default)]
    pub default_payment_method: Option<Named>,
}

#[derive(Deserialize)]
pub(super) struct Session {
    pub id: String,
    #[serde(default)]
    pub livemode: bool,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub metadata: Option<HashMap<String, String>>,
    #[serde(default)]
    pub payment_intent: Option<Named>,
    #[serde(default)]
    pub total_details: Option<TotalDetails>,
}

#[derive(Deserialize)]
pub(super) struct TotalDetails {
    pub amount_tax: i64,
}

/// What Stripe Tax says of a price.
#[derive(Deserialize)]
pub(super) struct Calculation {
    pub id: String,
    pub amount_total: i64,
    pub tax_amount_exclusive: i64,
}

#[derive(Deserialize)]
pub(super) struct Intent {
    pub id: String,
    #[serde(default)]
    pub livemode: bool,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub amount: i64,
    #[serde(default)]
    pub amount_received: i64,
    #[serde(default)]
    pub currency: String,
    #[serde(default)]
    pub metadata: Option<HashMap<String, String>>,
    #[serde(default)]
    pub customer: Option<Named>,
    #[serde(default)]
    pub payment_method: Option<Named>,
    #[serde(default)]
    pub setup_future_usage: Option<String>,
    #[serde(default)]
    pub last_payment_error: Option<Problem>,
    /// Expanded wherever an intent is asked for.
    #[serde(default)]
    pub latest_charge: Option<Charge>,
}

impl Intent {
    /// What we wrote into it under this name.
    pub fn metadata(&self, name: &str) -> Option<&String> {
        self.metadata.as_ref()?.get(name)
    }
}

#[derive(Deserialize)]
pub(super) struct Charge {
    #[serde(default)]
    pub amount_refunded: i64,
    #[serde(default)]
    pub disputed: bool,
    #[serde(default)]
    pub payment_method_details: Option<Details>,
}

#[derive(Deserialize)]
pub(super) struct Details {
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub card: Option<Card>,
}

#[derive(Deserialize)]
pub(super) struct Card {
    #[serde(default)]
    pub brand: Option<String>,
    #[serde(default)]
    pub last4: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Refund {
    #[serde(default)]
    pub amount: i64,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub payment_intent: Option<Named>,
    #[serde(default)]
    pub metadata: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
pub(super) struct Dispute {
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub amount: i64,
    #[serde(default)]
    pub payment_intent: Option<Named>,
}

#[derive(Deserialize)]
pub(super) struct Portal {
    pub url: String,
}

/// The body of a refusal.
#[derive(Deserialize, Default)]
pub(super) struct Refused {
    #[serde(default)]
    pub error: Problem,
}

#[derive(Deserialize, Default)]
pub(super) struct Problem {
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default, rename = "payment_intent")]
    pub intent: Option<Named>,
}

/// A saved method, as it is attached or not.
#[derive(Deserialize)]
pub(super) struct Method {
    pub id: String,
    #[serde(default)]
    pub customer: Option<Named>,
    #[serde(flatten)]
    pub details: Details,
}

/// An event: only a hint of what to look at.
#[derive(Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub livemode: bool,
    #[serde(default)]
    pub account: Option<String>,
    pub data: EventData,
}

#[derive(Deserialize)]
pub(super) struct EventData {
    pub object: EventObject,
    /// What the object was before.
    #[serde(default)]
    pub previous_attributes: Option<Before>,
}

#[derive(Deserialize)]
pub(super) struct Before {
    #[serde(default)]
    pub customer: Option<Named>,
}

#[derive(Deserialize)]
pub(super) struct EventObject {
    #[serde(default)]
    pub object: String,
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub payment_intent: Option<Named>,
    #[serde(default)]
    pub customer: Option<Named>,
}
