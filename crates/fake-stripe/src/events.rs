//! What Stripe tells: events, their signatures, and the weather in which they travel.
//!
//! Invariant: with the same seed and the same events, the same deliveries.

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::stripe::Stripe;
use crate::{API_VERSION, WEBHOOK_SECRET};

/// How events fare on their way. The default is fine weather: each once, at once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weather {
    /// What chance begins with.
    pub seed: u64,
    /// Of a hundred payments, of how many no event is ever made.
    pub never_percent: u64,
    /// Of a hundred events, how many get lost.
    pub dropped_percent: u64,
    /// Of a hundred deliveries, how many a stranger sends besides.
    pub forged_percent: u64,
    /// How often an event arrives at most; 0 is once.
    pub copies: u64,
    /// How many seconds after its event a delivery arrives at most.
    pub late_seconds: u64,
}

/// What is wrong with a delivery that Stripe did not send, or not to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Forgery {
    OtherSecret,
    Unsigned,
    Stale,
    Changed,
    OtherMode,
    OtherAccount,
    Garbage,
}

impl Forgery {
    /// Every kind.
    pub const ALL: [Forgery; 7] = [
        Forgery::OtherSecret,
        Forgery::Unsigned,
        Forgery::Stale,
        Forgery::Changed,
        Forgery::OtherMode,
        Forgery::OtherAccount,
        Forgery::Garbage,
    ];
}

/// One arrival of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Which event.
    pub event: String,
    /// What is wrong with it, if it is not Stripe's.
    pub forged: Option<Forgery>,
}

/// Chance that can be repeated (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

impl Stripe {
    /// Makes the event of a change, unless it is one of those that are never made.
    pub(crate) fn happened(&mut self, what: &str, id: &str) {
        if !self.wanted_events.is_empty() && !self.wanted_events.contains(&what) {
            return;
        }
        let object = self.known(id).clone();
        let payment =
            if object["object"] == "payment_intent" { &object["id"] } else { &object["payment_intent"] };
        let number =
            payment.as_str().and_then(|id| id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok());
        let lot = Chance(self.weather.seed ^ number.unwrap_or(0)).below(100);
        if number.is_some() && lot < self.weather.never_percent {
            return;
        }
        self.make("event", "evt", json!({ "api_version": API_VERSION, "data": { "object": object },
            "pending_webhooks": self.endpoints.len(), "request": { "id": null, "idempotency_key": null }, "type": what }));
    }

    /// How all events so far arrive, in order of arrival: some more than once, some late, some never, and some that nobody sent.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let weather = &self.weather;
        let mut chance = Chance(weather.seed);
        let mut deliveries = Vec::new();
        for event in self.all("event") {
            if chance.below(100) < weather.dropped_percent {
                continue;
            }
            let created = event["created"].as_i64().unwrap_or_default();
            for _ in 0..1 + chance.below(weather.copies) {
                let at = created + chance.below(weather.late_seconds + 1) as i64;
                let event = event["id"].as_str().unwrap_or_default().to_owned();
                if chance.below(100) < weather.forged_percent {
                    let forged = Forgery::ALL[chance.below(Forgery::ALL.len() as u64) as usize];
                    deliveries.push(Delivery { at, event: event.clone(), forged: Some(forged) });
                }
                deliveries.push(Delivery { at, event, forged: None });
            }
        }
        deliveries.sort_by_key(|delivery| delivery.at);
        deliveries
    }

    /// Body and `Stripe-Signature` of a delivery as it is sent at `now`: every attempt is signed anew.
    pub fn sealed(&self, delivery: &Delivery, now: i64) -> (String, String) {
        let mut event = self.get(&delivery.event).cloned().unwrap_or_default();
        match delivery.forged {
            Some(Forgery::OtherMode) => event["livemode"] = json!(!self.livemode),
            Some(Forgery::OtherAccount) => event["account"] = json!("acct_other"),
            _ => {}
        }
        let body = match delivery.forged {
            Some(Forgery::Garbage) => "{\"id\": \"evt_1\"".to_owned(),
            _ => event.to_string(),
        };
        match delivery.forged {
            Some(Forgery::OtherSecret) => (body.clone(), signature(&body, now, "whsec_other")),
            Some(Forgery::Unsigned) => (body, String::new()),
            Some(Forgery::Stale) => (body.clone(), signature(&body, now - 301, WEBHOOK_SECRET)),
            Some(Forgery::Changed) => (format!("{body} "), signature(&body, now, WEBHOOK_SECRET)),
            _ => (body.clone(), signature(&body, now, WEBHOOK_SECRET)),
        }
    }
}

/// The `Stripe-Signature` of a body.
pub fn signature(body: &str, now: i64, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{now}.{body}").as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now},v1={digest}")
}
