//! What becomes of money: customers and their cards, payment intents, charges, refunds and disputes.
//!
//! Invariant: a charge's `amount_refunded` is the sum of its refunds that have not failed, and never more than its amount.

use serde_json::{Value, json};

use crate::cards::{self, Card};
use crate::stripe::{Answer, Refusal, Stripe};

/// Whether the card's owner is there to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Present,
    Absent,
}

impl Stripe {
    pub(crate) fn create_customer(&mut self, given: &Value) -> Answer {
        let customer = json!({ "email": given["email"], "name": given["name"], "description": given["description"],
            "metadata": metadata(given), "address": null, "balance": 0, "delinquent": false, "invoice_prefix": "FAKE",
            "invoice_settings": { "custom_fields": null, "default_payment_method": null, "footer": null } });
        let id = self.make("customer", "cus", customer);
        self.happened("customer.created", &id);
        self.find("customer", &id, "id")
    }

    pub(crate) fn update_customer(&mut self, id: &str, given: &Value) -> Answer {
        self.find("customer", id, "id")?;
        if let Some(method) = given["invoice_settings"]["default_payment_method"].as_str() {
            let method = self.find("payment_method", method, "invoice_settings[default_payment_method]")?;
            if method["customer"] != id {
                return Err(not_attached(&method));
            }
            self.known(id)["invoice_settings"]["default_payment_method"] = method["id"].clone();
        }
        for name in ["email", "name", "description"] {
            if given[name].is_string() {
                self.known(id)[name] = given[name].clone();
            }
        }
        self.happened("customer.updated", id);
        self.find("customer", id, "id")
    }

    /// A payment method of a test card, such as `pm_card_visa` or a number typed into the page.
    pub(crate) fn make_method(&mut self, name: &str, customer: &Value) -> Option<String> {
        let (last4, card) = cards::find(name)?;
        let details = json!({ "brand": "visa", "country": "US", "exp_month": 12,
            "exp_year": 2034, "fingerprint": format!("fp{last4}"), "funding": "credit", "last4": last4 });
        let (kind, details) = match card {
            Card::Slow => (
                "us_bank_account",
                json!({ "bank_name": "TEST BANK", "last4": last4,
                "account_holder_type": "individual", "account_type": "checking", "fingerprint": "fp",
                "routing_number": "110000000" }),
            ),
            _ => ("card", details),
        };
        let mut method = json!({ "type": kind, "customer": customer, "metadata": {},
            "billing_details": { "address": null, "email": null, "name": null, "phone": null } });
        method[kind] = details;
        let id = self.make("payment_method", "pm", method);
        self.cards.insert(id.clone(), card);
        Some(id)
    }

    /// A customer that a test makes.
    pub fn customer(&mut self) -> String {
        let made = self.create_customer(&json!({})).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        made["id"].as_str().unwrap_or_default().to_owned()
    }

    /// A test card that this customer saved.
    pub fn save(&mut self, customer: &str, card: &str) -> String {
        let saved = self.attach(card, &json!({ "customer": customer }));
        let saved = saved.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        saved["id"].as_str().unwrap_or_default().to_owned()
    }

    /// On the portal this customer chooses another card for all that is to come; answers its id.
    pub fn replace(&mut self, customer: &str, card: &str) -> String {
        let method = self.save(customer, card);
        let settings = json!({ "invoice_settings": { "default_payment_method": method } });
        self.update_customer(customer, &settings).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        method
    }

    /// On the portal somebody takes a card away.
    pub fn forget(&mut self, method: &str) {
        self.detach(method).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    }

    /// A payment method by its id, or a new one of a test card.
    fn method(&mut self, name: &str, customer: &Value) -> Result<String, Refusal> {
        match self.make_method(name, customer) {
            Some(id) => Ok(id),
            None => self.find("payment_method", name, "payment_method").map(|_| name.to_owned()),
        }
    }

    pub(crate) fn attach(&mut self, name: &str, given: &Value) -> Answer {
        let customer = self.find("customer", required(given, "customer")?, "customer")?["id"].clone();
        let id = self.method(name, &customer)?;
        self.known(&id)["customer"] = customer;
        self.happened("payment_method.attached", &id);
        self.find("payment_method", &id, "id")
    }

    pub(crate) fn detach(&mut self, id: &str) -> Answer {
        let customer = self.find("payment_method", id, "id")?["customer"].clone();
        self.known(id)["customer"] = Value::Null;
        if let Some(customer) = customer.as_str().map(str::to_owned) {
            let settings = &mut self.known(&customer)["invoice_settings"];
            if settings["default_payment_method"] == id {
                settings["default_payment_method"] = Value::Null;
                self.happened("customer.updated", &customer);
            }
        }
        self.happened("payment_method.detached", id);
        self.find("payment_method", id, "id")
    }

    pub(crate) fn create_intent(&mut self, given: &Value) -> Answer {
        let amount = amount(given, "amount")?;
        let currency = required(given, "currency")?.to_lowercase();
        let customer = match given["customer"].as_str() {
            Some(customer) => self.find("customer", customer, "customer")?["id"].clone(),
            None => Value::Null,
        };
        self.is_calculated(given, amount)?;
        let absent = given["off_session"] == "true";
        let confirm = given["confirm"] == "true";
        if absent && !confirm {
            let message = "You cannot set `off_session` without `confirm=true`.";
            return Err(Refusal::invalid("parameter_invalid_empty", "off_session", message));
        }
        let method = match given["payment_method"].as_str() {
            Some(name) => {
                let method = self.method(name, &customer)?;
                let method = self.find("payment_method", &method, "payment_method")?;
                if method["customer"] != customer {
                    return Err(not_attached(&method));
                }
                Some(method["id"].as_str().unwrap_or_default().to_owned())
            }
            None if confirm => return Err(missing("payment_method")),
            None => None,
        };
        let id = self.make_intent(amount, &currency, &customer, given);
        if let Some(method) = method {
            self.known(&id)["payment_method"] = json!(method);
            self.known(&id)["status"] = json!("requires_confirmation");
        }
        if confirm {
            self.confirm(&id, if absent { Owner::Absent } else { Owner::Present })?;
        }
        self.find("payment_intent", &id, "id")
    }

    pub(crate) fn make_intent(
        &mut self,
        amount: i64,
        currency: &str,
        customer: &Value,
        given: &Value,
    ) -> String {
        let intent = json!({ "amount": amount, "amount_received": 0, "canceled_at": null, "cancellation_reason": null,
            "capture_method": "automatic_async", "client_secret": format!("pi_secret_{}", self.serial),
            "confirmation_method": "automatic", "currency": currency, "customer": customer,
            "description": given["description"], "last_payment_error": null, "latest_charge": null,
            "metadata": metadata(given), "next_action": null, "payment_method": null,
            "payment_method_types": ["card"], "receipt_email": null,
            "setup_future_usage": given["setup_future_usage"], "status": "requires_payment_method" });
        let id = self.make("payment_intent", "pi", intent);
        if given["hooks"].is_object() {
            self.known(&id)["hooks"] = given["hooks"].clone();
        }
        self.happened("payment_intent.created", &id);
        id
    }

    pub(crate) fn confirm_intent(&mut self, id: &str, given: &Value) -> Answer {
        let intent = self.find("payment_intent", id, "intent")?;
        if !matches!(intent["status"].as_str(), Some("requires_payment_method" | "requires_confirmation")) {
            return Err(unexpected_state(&intent));
        }
        if let Some(name) = given["payment_method"].as_str() {
            let method = self.method(name, &intent["customer"])?;
            self.known(id)["payment_method"] = json!(method);
        }
        if self.known(id)["payment_method"].is_null() {
            return Err(missing("payment_method"));
        }
        self.confirm(id, if given["off_session"] == "true" { Owner::Absent } else { Owner::Present })?;
        self.find("payment_intent", id, "intent")
    }

    pub(crate) fn cancel_intent(&mut self, id: &str) -> Answer {
        let intent = self.find("payment_intent", id, "intent")?;
        if matches!(intent["status"].as_str(), Some("succeeded" | "canceled" | "processing")) {
            return Err(unexpected_state(&intent));
        }
        let now = self.now();
        let intent = self.known(id);
        intent["status"] = json!("canceled");
        intent["canceled_at"] = json!(now);
        self.happened("payment_intent.canceled", id);
        self.find("payment_intent", id, "intent")
    }

    /// Takes the money, or says why not.
    pub(crate) fn confirm(&mut self, id: &str, owner: Owner) -> Result<(), Refusal> {
        let method = self.known(id)["payment_method"].as_str().unwrap_or_default().to_owned();
        let card = self.cards.get(&method).copied().unwrap_or(Card::Pays);
        let set_up = self.set_up.contains(&method);
        match (card, owner) {
            (Card::Pays | Card::Disputes, _) => self.take(id),
            (Card::AsksOnce, Owner::Absent) if set_up => self.take(id),
            (Card::Declines(why), _) => return Err(self.refuse(id, "card_declined", why)),
            (Card::SavesOnly, _) => return Err(self.refuse(id, "card_declined", "generic_decline")),
            (Card::AsksOnce | Card::AsksAlways, Owner::Absent) => {
                return Err(self.refuse(id, "authentication_required", "authentication_required"));
            }
            (Card::AsksOnce | Card::AsksAlways, Owner::Present) => {
                let intent = self.known(id);
                intent["status"] = json!("requires_action");
                intent["next_action"] = json!({ "type": "redirect_to_url",
                    "redirect_to_url": { "url": "https://hooks.stripe.com/fake", "return_url": null } });
                self.happened("payment_intent.requires_action", id);
            }
            (Card::Slow, _) => {
                self.known(id)["status"] = json!("processing");
                self.happened("payment_intent.processing", id);
            }
        }
        Ok(())
    }

    /// Ends what takes days.
    pub fn settle(&mut self, intent: &str, outcome: Result<(), &'static str>) {
        assert_eq!(self.known(intent)["status"], "processing", "only what is processing can be settled");
        match outcome {
            Ok(()) => self.take(intent),
            Err(why) => drop(self.refuse(intent, "payment_intent_payment_attempt_failed", why)),
        }
        self.tell_session(intent);
    }

    /// The money is there.
    pub(crate) fn take(&mut self, id: &str) {
        let charge = self.make_charge(
            id,
            json!({ "status": "succeeded", "paid": true, "captured": true,
            "outcome": { "network_status": "approved_by_network", "reason": null, "risk_level": "normal",
                "seller_message": "Payment complete.", "type": "authorized" } }),
        );
        let intent = self.known(id);
        intent["status"] = json!("succeeded");
        intent["amount_received"] = intent["amount"].clone();
        intent["next_action"] = Value::Null;
        intent["last_payment_error"] = Value::Null;
        let method = intent["payment_method"].as_str().unwrap_or_default().to_owned();
        let (saves, customer) = (intent["setup_future_usage"] == "off_session", intent["customer"].clone());
        if saves && customer.is_string() {
            self.known(&method)["customer"] = customer;
            self.set_up.insert(method.clone());
            self.happened("payment_method.attached", &method);
        }
        self.happened("charge.succeeded", &charge);
        self.happened("payment_intent.succeeded", id);
        if self.cards.get(&method) == Some(&Card::Disputes) {
            self.dispute(id);
        }
    }

    /// The money is not there: a failed charge, and the refusal that says so.
    pub(crate) fn refuse(&mut self, id: &str, code: &str, why: &str) -> Refusal {
        let message = match code {
            "authentication_required" => "Your card was declined. This transaction requires authentication.",
            _ => "Your card was declined.",
        };
        let charge = self.make_charge(
            id,
            json!({ "status": "failed", "paid": false, "captured": false,
            "failure_code": code, "failure_message": message,
            "outcome": { "network_status": "declined_by_network", "reason": why, "risk_level": "normal",
                "seller_message": "The bank did not return any further details with this decline.",
                "type": "issuer_declined" } }),
        );
        let method = self.known(id)["payment_method"].as_str().unwrap_or_default().to_owned();
        let method = self.get(&method).cloned().unwrap_or_default();
        let mut error = json!({ "type": "card_error", "code": code, "decline_code": why, "message": message,
            "charge": charge, "payment_method": method,
            "doc_url": "https://docs.stripe.com/error-codes/card-declined" });
        let intent = self.known(id);
        intent["status"] = json!("requires_payment_method");
        intent["payment_method"] = Value::Null;
        intent["next_action"] = Value::Null;
        intent["last_payment_error"] = error.clone();
        error["payment_intent"] = intent.clone();
        self.happened("charge.failed", &charge);
        self.happened("payment_intent.payment_failed", id);
        Refusal { status: 402, error }
    }

    fn make_charge(&mut self, intent: &str, outcome: Value) -> String {
        let intent = self.known(intent).clone();
        let method =
            intent["payment_method"].as_str().and_then(|id| self.get(id)).cloned().unwrap_or_default();
        let kind = method["type"].as_str().unwrap_or("card");
        let details = json!({ "type": kind, kind: method[kind] });
        let mut charge = json!({ "amount": intent["amount"], "amount_captured": 0, "amount_refunded": 0,
            "currency": intent["currency"], "customer": intent["customer"], "disputed": false, "failure_code": null,
            "failure_message": null, "metadata": intent["metadata"], "payment_intent": intent["id"],
            "payment_method": intent["payment_method"], "payment_method_details": details,
            "receipt_url": "https://pay.stripe.com/receipts/fake", "refunded": false });
        for (name, value) in outcome.as_object().into_iter().flatten() {
            charge[name] = value.clone();
        }
        if charge["captured"] == true {
            charge["amount_captured"] = charge["amount"].clone();
        }
        let id = self.make("charge", "ch", charge);
        let name = intent["id"].as_str().unwrap_or_default().to_owned();
        self.known(&name)["latest_charge"] = json!(id);
        id
    }
}

pub(crate) fn metadata(given: &Value) -> Value {
    given["metadata"].as_object().map_or_else(|| json!({}), |members| Value::Object(members.clone()))
}

pub(crate) fn required<'a>(given: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    given[name].as_str().filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

/// Minor units, at least 1.
pub(crate) fn amount(given: &Value, name: &str) -> Result<i64, Refusal> {
    let text = required(given, name)?;
    let wrong = || Refusal::invalid("parameter_invalid_integer", name, &format!("Invalid integer: {text}"));
    text.parse().ok().filter(|amount| (1..=99_999_999).contains(amount)).ok_or_else(wrong)
}

pub(crate) fn missing(name: &str) -> Refusal {
    Refusal::invalid("parameter_missing", name, &format!("Missing required param: {name}."))
}

fn not_attached(method: &Value) -> Refusal {
    let message = format!("The provided PaymentMethod ({}) is not attached to this customer.", method["id"]);
    Refusal::invalid("payment_method_unexpected_state", "payment_method", &message)
}

pub(crate) fn unexpected_state(intent: &Value) -> Refusal {
    let message = format!("This PaymentIntent's status is {}, so this cannot be done.", intent["status"]);
    Refusal::invalid("payment_intent_unexpected_state", "intent", &message)
}
