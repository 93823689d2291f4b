//! What Stripe knows: its objects, the answers it has given under a key, its faults, and the table of its API.
//!
//! Owns how objects are made, listed and expanded. What becomes of money is in `payments` and `checkout`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::cards::Card;
use crate::events::Weather;
use crate::parameters;

/// A way to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status, without effect.
    Status(u16),
    /// Never answers, without effect.
    Hang,
    /// Takes effect, and never answers.
    HangAfterEffect,
    /// Takes effect, and breaks the connection off.
    CloseAfterEffect,
    /// Takes effect, and answers 200 with what cannot be read.
    GarbleAfterEffect,
}

/// A refusal as Stripe words it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) status: u16,
    pub(crate) error: Value,
}

pub(crate) type Answer = Result<Value, Refusal>;

/// A request that was asked for.
pub(crate) struct Ask<'a> {
    pub method: &'a str,
    /// Behind `/v1/`.
    pub path: &'a str,
    pub parameters: Value,
    pub key: &'a str,
}

/// Is shown what Stripe knows after each request.
pub type Watcher = Arc<dyn Fn(&Stripe) + Send + Sync>;

/// The stand-in's memory. Its fields are the weather that a test makes.
#[derive(Clone)]
pub struct Stripe {
    /// Whether it says that this is real money.
    pub livemode: bool,
    /// Its account.
    pub account: String,
    /// Hundredths of a percent of tax, for whoever asks for it.
    pub tax_rate: i64,
    /// Seconds since 1970 while time stands still; `None`: the system's clock.
    pub now: Option<i64>,
    /// How events are lost, doubled and delayed.
    pub weather: Weather,
    /// The kinds of events that are wanted, such as `payment_intent.succeeded`; empty: all.
    pub wanted_events: Vec<&'static str>,
    /// Whom it tells of events.
    pub endpoints: Vec<String>,
    /// Every request so far, as `POST /v1/refunds`.
    pub calls: Vec<String>,
    /// Who looks on.
    pub watcher: Option<Watcher>,
    pub(crate) base: String,
    pub(crate) serial: u64,
    things: HashMap<String, Value>,
    order: HashMap<&'static str, Vec<String>>,
    pub(crate) cards: HashMap<String, Card>,
    pub(crate) set_up: HashSet<String>,
    /// What a checkout wants of its payment intent.
    pub(crate) wanted: HashMap<String, Value>,
    answers: HashMap<String, (String, u16, Value)>,
    faults: Vec<(String, Fault, usize)>,
    /// What happens at the request with this number, counted from the first.
    planned: Option<(usize, Fault)>,
    pub(crate) told: HashSet<String>,
}

impl Stripe {
    pub(crate) fn new(base: String) -> Stripe {
        Stripe {
            livemode: false,
            account: "acct_fake".to_owned(),
            tax_rate: 2_000,
            now: None,
            weather: Weather::default(),
            wanted_events: Vec::new(),
            endpoints: Vec::new(),
            calls: Vec::new(),
            watcher: None,
            base,
            serial: 0,
            things: HashMap::new(),
            order: HashMap::new(),
            cards: HashMap::new(),
            set_up: HashSet::new(),
            wanted: HashMap::new(),
            answers: HashMap::new(),
            faults: Vec::new(),
            planned: None,
            told: HashSet::new(),
        }
    }

    /// The present, in seconds since 1970.
    pub fn now(&self) -> i64 {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        self.now.unwrap_or_else(system)
    }

    /// Misbehaves in this way for the next `times` requests that begin like this, such as `POST /v1/refunds`.
    pub fn fail(&mut self, request: &str, fault: Fault, times: usize) {
        self.faults.push((request.to_owned(), fault, times));
    }

    /// Misbehaves in this way at the request that comes after so many others from now on.
    pub fn fail_after(&mut self, others: usize, fault: Fault) {
        self.planned = Some((self.calls.len() + others, fault));
    }

    /// Forgets a request that it should misbehave at.
    pub fn plan_nothing(&mut self) {
        self.planned = None;
    }

    /// Whether the request that it should misbehave at has come.
    pub fn has_failed(&self) -> bool {
        self.planned.is_none()
    }

    /// An object as it is now.
    pub fn get(&self, id: &str) -> Option<&Value> {
        self.things.get(id)
    }

    /// All objects of a kind, such as `refund`, in the order of their making.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.order.get(kind).into_iter().flatten().filter_map(|id| self.things.get(id)).collect()
    }

    /// Changes an object behind everybody's back.
    pub fn change(&mut self, id: &str, members: Value) {
        let thing = self.known(id);
        for (name, value) in members.as_object().into_iter().flatten() {
            thing[name] = value.clone();
        }
    }

    /// Forgets all keys, as Stripe does after a day.
    pub fn forget_keys(&mut self) {
        self.answers.clear();
    }

    /// How many requests there were that began like this.
    pub fn count(&self, request: &str) -> usize {
        self.calls.iter().filter(|call| call.starts_with(request)).count()
    }

    pub(crate) fn take_fault(&mut self, request: &str) -> Option<Fault> {
        // The request itself is counted already.
        if let Some((_, fault)) = self.planned.take_if(|(number, _)| *number < self.calls.len()) {
            return Some(fault);
        }
        let at = self.faults.iter().position(|(begin, _, times)| *times > 0 && request.starts_with(begin))?;
        self.faults[at].2 -= 1;
        Some(self.faults[at].1.clone())
    }

    /// Makes an object with an id of its own.
    pub(crate) fn make(&mut self, kind: &'static str, prefix: &str, mut value: Value) -> String {
        self.serial += 1;
        let id = format!("{prefix}_fake{:012}", self.serial);
        value["id"] = json!(id);
        value["object"] = json!(kind);
        value["created"] = json!(self.now());
        // A refund is of the mode of what it refunds.
        if kind != "refund" {
            value["livemode"] = json!(self.livemode);
        }
        self.things.insert(id.clone(), value);
        self.order.entry(kind).or_default().push(id.clone());
        id
    }

    /// An object that must be there, because another one names it.
    pub(crate) fn known(&mut self, id: &str) -> &mut Value {
        self.things.get_mut(id).unwrap_or_else(|| panic!("nothing is called {id}"))
    }

    /// An object of a kind, or the refusal that it is missing.
    pub(crate) fn find(&self, kind: &str, id: &str, parameter: &str) -> Answer {
        let found = self.things.get(id).filter(|value| value["object"] == kind);
        found.cloned().ok_or_else(|| {
            let message = format!("No such {kind}: '{id}'");
            Refusal { status: 404, ..Refusal::invalid("resource_missing", parameter, &message) }
        })
    }

    /// What is answered: under a key that was used, the first answer again.
    pub(crate) fn answer(&mut self, ask: &Ask<'_>) -> (u16, Value, bool) {
        let said = format!("{} {} {}", ask.method, ask.path, ask.parameters);
        let remembers = ask.method == "POST" && !ask.key.is_empty();
        if let Some((asked, status, body)) = self.answers.get(ask.key).filter(|_| remembers) {
            if *asked == said {
                return (*status, body.clone(), true);
            }
            let message = format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{}' if you meant to execute a different request.",
                ask.key
            );
            let error = json!({ "type": "idempotency_error", "message": message });
            return (400, json!({ "error": error }), false);
        }
        let (status, body) = match self.act(ask) {
            Ok(body) => (200, body),
            Err(refusal) => (refusal.status, json!({ "error": refusal.error })),
        };
        // What fails validation has not begun, so its key is free.
        if remembers && matches!(status, 200 | 402) {
            self.answers.insert(ask.key.to_owned(), (said, status, body.clone()));
        }
        (status, body, false)
    }

    fn act(&mut self, ask: &Ask<'_>) -> Answer {
        parameters::check(ask)?;
        let parts: Vec<&str> = ask.path.split('/').collect();
        let given = &ask.parameters;
        let mut body = match (ask.method, &parts[..]) {
            ("GET", ["account"]) => Ok(self.account()),
            ("POST", ["customers"]) => self.create_customer(given),
            ("POST", ["customers", id]) => self.update_customer(id, given),
            ("GET", ["customers", id, "payment_methods"]) => {
                self.find("customer", id, "id")?;
                Ok(self.list("payment_method", given, &[("customer", id)], ask.path))
            }
            ("POST", ["payment_methods", id, "attach"]) => self.attach(id, given),
            ("POST", ["payment_methods", id, "detach"]) => self.detach(id),
            ("POST", ["payment_intents"]) => self.create_intent(given),
            ("POST", ["payment_intents", id, "confirm"]) => self.confirm_intent(id, given),
            ("POST", ["payment_intents", id, "cancel"]) => self.cancel_intent(id),
            ("POST", ["tax", "calculations"]) => self.create_calculation(given),
            ("POST", ["products"]) => self.create_product(given),
            ("POST", ["prices"]) => self.create_price(given),
            ("POST", ["subscriptions"]) => self.create_subscription(given),
            ("POST", ["subscriptions", id]) => self.update_subscription(id, given),
            ("DELETE", ["subscriptions", id]) => self.cancel_subscription(id),
            ("POST", ["invoices", id, "pay"]) => self.pay_invoice(id, given),
            ("POST", ["refunds"]) => self.create_refund(given),
            ("POST", ["disputes", id, "close"]) => self.lose_dispute(id),
            ("POST", ["checkout", "sessions"]) => self.create_session(given),
            ("POST", ["checkout", "sessions", id, "expire"]) => self.expire_session(id),
            ("POST", ["billing_portal", "sessions"]) => self.create_portal(given),
            ("GET", [.., "sessions"]) => Ok(self.list("checkout.session", given, &[], ask.path)),
            ("GET", ["checkout", "sessions", id]) => self.find("checkout.session", id, "id"),
            ("GET", [name]) => Ok(self.list(kind(name).ok_or_else(|| unknown(ask))?, given, &[], ask.path)),
            ("GET", [name, id]) => self.find(kind(name).ok_or_else(|| unknown(ask))?, id, "id"),
            _ => Err(unknown(ask)),
        }?;
        for path in given["expand"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.expand(&mut body, path);
        }
        Ok(body)
    }

    fn account(&self) -> Value {
        json!({ "id": self.account, "object": "account", "charges_enabled": true, "payouts_enabled": true,
            "country": "US", "default_currency": "usd", "email": "owner@example.com", "type": "standard" })
    }

    /// One page, newest first, of what was created in the asked time and names what is asked for.
    fn list(&self, kind: &str, given: &Value, equal: &[(&str, &str)], path: &str) -> Value {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
        let limit = number(&given["limit"]).unwrap_or(10).clamp(1, 100) as usize;
        let since = number(&given["created"]["gte"]).or(number(&given["created"]["gt"]).map(|time| time + 1));
        let before = given["starting_after"].as_str();
        let fits = |value: &&Value| {
            let asked = ["customer", "payment_intent", "charge", "type", "invoice", "status"];
            let asked = asked.iter().filter_map(|name| Some((*name, given[*name].as_str()?)));
            let of = given["subscription"].as_str();
            of.is_none_or(|of| value["parent"]["subscription_details"]["subscription"] == of)
                && equal.iter().copied().chain(asked).all(|(name, wanted)| value[name] == wanted)
        };
        let ids = self.order.get(kind).map(Vec::as_slice).unwrap_or_default();
        // Ids rise, so that a page is found without a look at those before it.
        let end = before.map_or(ids.len(), |last| ids.partition_point(|id| serial(id) < serial(last)));
        let newest = ids[..end].iter().rev().filter_map(|id| self.things.get(id));
        let newest =
            newest.take_while(|value| since.is_none_or(|since| value["created"].as_i64() >= Some(since)));
        let mut data: Vec<Value> = newest.filter(fits).take(limit + 1).cloned().collect();
        let has_more = data.len() > limit;
        data.truncate(limit);
        json!({ "object": "list", "url": format!("/v1/{path}"), "has_more": has_more, "data": data })
    }

    fn expand(&self, value: &mut Value, path: &str) {
        if let Value::Array(items) = value {
            return items.iter_mut().for_each(|item| self.expand(item, path));
        }
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let Some(member) = value.get_mut(first) else { return };
        if let Some(full) = member.as_str().and_then(|id| self.things.get(id)) {
            *member = full.clone();
        }
        if let Some(rest) = rest {
            self.expand(member, rest);
        }
    }
}

fn serial(id: &str) -> &str {
    id.rsplit('_').next().unwrap_or_default()
}

/// What a collection of the API holds.
fn kind(name: &str) -> Option<&'static str> {
    let kinds = [
        "customer",
        "payment_method",
        "payment_intent",
        "charge",
        "refund",
        "dispute",
        "event",
        "product",
        "price",
        "subscription",
        "invoice",
        "invoice_payment",
    ];
    kinds.into_iter().find(|kind| name.strip_suffix('s') == Some(kind))
}

fn unknown(ask: &Ask<'_>) -> Refusal {
    let message = format!("Unrecognized request URL ({}: /v1/{}).", ask.method, ask.path);
    Refusal { status: 404, error: json!({ "type": "invalid_request_error", "message": message }) }
}

impl Refusal {
    /// The request is wrong.
    pub(crate) fn invalid(code: &str, parameter: &str, message: &str) -> Refusal {
        let error =
            json!({ "type": "invalid_request_error", "code": code, "param": parameter, "message": message });
        Refusal { status: 400, error }
    }
}
