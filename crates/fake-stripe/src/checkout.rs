//! Hosted pages: Checkout with its form, its second step and its ways back, and the customer portal.

use serde_json::{Value, json};

use crate::cards::{self, Card};
use crate::disputes::whole;
use crate::payments::{Owner, amount, metadata, missing, required};
use crate::stripe::{Answer, Refusal, Stripe};

/// What the page shows next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The form, with what went wrong before.
    Form(String),
    /// The bank's question.
    Question,
    /// It leads on to this address.
    On(String),
    /// There is nothing to pay here any more.
    Ended,
}

impl Stripe {
    pub(crate) fn create_session(&mut self, given: &Value) -> Answer {
        if required(given, "mode")? != "payment" {
            let message = "Invalid mode: this stand-in takes payment only";
            return Err(Refusal::invalid("parameter_invalid_string", "mode", message));
        }
        let items = given["line_items"].as_array().filter(|items| !items.is_empty());
        let (mut total, mut currency) = (0, String::new());
        for item in items.ok_or_else(|| missing("line_items"))? {
            let price = &item["price_data"];
            required(&price["product_data"], "name")?;
            total += amount(price, "unit_amount")? * amount(item, "quantity")?;
            currency = required(price, "currency")?.to_lowercase();
        }
        let customer = match given["customer"].as_str() {
            Some(_) if given["customer_creation"].is_string() || given["customer_email"].is_string() => {
                let message = "You may only specify one of these parameters: customer, customer_creation, customer_email.";
                return Err(Refusal::invalid("parameter_invalid", "customer", message));
            }
            Some(customer) => self.find("customer", customer, "customer")?["id"].clone(),
            None => Value::Null,
        };
        let day = 86_400;
        let ends =
            given["expires_at"].as_str().and_then(|text| text.parse().ok()).unwrap_or(self.now() + day);
        if !(self.now() + 1_800..=self.now() + day).contains(&ends) {
            let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.";
            return Err(Refusal::invalid("parameter_invalid", "expires_at", message));
        }
        let url = |name: &str| required(given, name).map(|url| json!(url));
        let tax = self.tax_asked(given, &customer)?;
        let session = json!({ "amount_subtotal": total, "amount_total": total, "automatic_tax": tax, "cancel_url": given["cancel_url"],
            "client_reference_id": given["client_reference_id"], "currency": currency, "customer": customer,
            "customer_details": null, "customer_email": given["customer_email"], "expires_at": ends,
            "invoice": null, "metadata": metadata(given), "mode": "payment", "payment_intent": null,
            "payment_method_types": ["card"], "payment_status": "unpaid", "setup_intent": null, "status": "open",
            "subscription": null, "success_url": url("success_url")?,
            "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 }, "ui_mode": "hosted_page", "url": null });
        let id = self.make("checkout.session", "cs_test", session);
        self.wanted.insert(id.clone(), given["payment_intent_data"].clone());
        if customer.is_null() && given["customer_creation"] == "always" {
            self.known(&id)["customer_creation"] = json!("always");
        }
        self.known(&id)["url"] = json!(format!("{}/c/pay/{id}", self.base));
        self.find("checkout.session", &id, "id")
    }

    pub(crate) fn expire_session(&mut self, id: &str) -> Answer {
        let session = self.find("checkout.session", id, "session")?;
        if session["status"] != "open" {
            let message = "Only Checkout Sessions with a status in [\"open\"] can be expired.";
            return Err(Refusal::invalid("resource_state", "session", message));
        }
        self.expire(id);
        self.find("checkout.session", id, "session")
    }

    fn expire(&mut self, id: &str) {
        let session = self.known(id);
        session["status"] = json!("expired");
        session["url"] = Value::Null;
        let intent = session["payment_intent"].as_str().map(str::to_owned);
        // What was tried on the page ends with it.
        intent.map(|intent| self.cancel_intent(&intent));
        self.happened("checkout.session.expired", id);
    }

    /// Checkouts whose time is over end.
    pub fn expire_sessions(&mut self) {
        let now = self.now();
        let over = |session: &&Value| session["status"] == "open" && whole(&session["expires_at"]) <= now;
        let ids: Vec<String> = self.all("checkout.session").into_iter().filter(over).map(id_of).collect();
        ids.iter().for_each(|id| self.expire(id));
    }

    pub(crate) fn create_portal(&mut self, given: &Value) -> Answer {
        let customer = self.find("customer", required(given, "customer")?, "customer")?;
        let id = self.make(
            "billing_portal.session",
            "bps",
            json!({ "configuration": "bpc_fake",
            "customer": customer["id"], "flow": null, "locale": null, "on_behalf_of": null,
            "return_url": given["return_url"], "url": null }),
        );
        self.known(&id)["url"] = json!(format!("{}/p/session/{id}", self.base));
        self.find("billing_portal.session", &id, "id")
    }

    /// Somebody types a card's number into the page and presses "pay".
    pub fn pay(&mut self, session: &str, number: &str) -> Shown {
        let Ok(found) = self.find("checkout.session", session, "id") else { return Shown::Ended };
        if found["status"] != "open" {
            return Shown::Ended;
        }
        if whole(&found["expires_at"]) <= self.now() {
            self.expire(session);
            return Shown::Ended;
        }
        let Some(method) = self.make_method(number, &Value::Null) else {
            return Shown::Form("Your card number is invalid.".to_owned());
        };
        let intent = match found["payment_intent"].as_str() {
            Some(intent) => intent.to_owned(),
            None => {
                let wanted = self.wanted.get(session).cloned().unwrap_or_default();
                if found["customer_creation"] == "always" && found["customer"].is_null() {
                    let customer = json!({ "email": found["customer_email"] });
                    let customer = self.create_customer(&customer).unwrap_or_default()["id"].clone();
                    self.known(session)["customer"] = customer;
                }
                self.tax_session(session);
                let found = self.known(session).clone();
                let currency = found["currency"].as_str().unwrap_or_default();
                let intent =
                    self.make_intent(whole(&found["amount_total"]), currency, &found["customer"], &wanted);
                self.known(session)["payment_intent"] = json!(intent);
                intent
            }
        };
        self.known(&intent)["payment_method"] = json!(method);
        match self.confirm(&intent, Owner::Present) {
            Ok(()) if self.known(&intent)["status"] == "requires_action" => Shown::Question,
            Ok(()) => Shown::On(self.complete(session)),
            Err(refusal) => Shown::Form(refusal.error["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// Somebody answers the bank's question.
    pub fn authenticate(&mut self, session: &str, answer: &str) -> Shown {
        let Ok(found) = self.find("checkout.session", session, "id") else { return Shown::Ended };
        let intent = found["payment_intent"].as_str().unwrap_or_default().to_owned();
        if self.get(&intent).is_none_or(|intent| intent["status"] != "requires_action") {
            return Shown::Ended;
        }
        if answer == "complete" {
            self.take(&intent);
            return Shown::On(self.complete(session));
        }
        drop(self.refuse(&intent, "payment_intent_authentication_failure", "authentication_failure"));
        Shown::Form("We are unable to authenticate your payment method.".to_owned())
    }

    fn complete(&mut self, id: &str) -> String {
        let session = self.known(id).clone();
        let intent = session["payment_intent"].as_str().unwrap_or_default().to_owned();
        let paid = self.known(&intent)["status"] == "succeeded";
        let session = self.known(id);
        session["status"] = json!("complete");
        session["payment_status"] = json!(if paid { "paid" } else { "unpaid" });
        session["url"] = Value::Null;
        session["customer_details"] = json!({ "address": null, "email": "buyer@example.com", "name": "Lead 0001",
            "phone": null, "tax_exempt": "none", "tax_ids": [] });
        let on = session["success_url"].as_str().unwrap_or_default().replace("{CHECKOUT_SESSION_ID}", id);
        self.happened("checkout.session.completed", id);
        on
    }

    /// What took days has ended: its checkout tells of it.
    pub(crate) fn tell_session(&mut self, intent: &str) {
        let its = |session: &&Value| session["payment_intent"] == intent;
        let Some(id) = self.all("checkout.session").into_iter().find(its).map(id_of) else { return };
        if self.known(intent)["status"] == "succeeded" {
            self.known(&id)["payment_status"] = json!("paid");
            self.happened("checkout.session.async_payment_succeeded", &id);
        } else {
            self.happened("checkout.session.async_payment_failed", &id);
        }
    }

    /// The page of a checkout.
    pub(crate) fn page(&self, id: &str, shown: &Shown) -> String {
        let session = self.get(id).cloned().unwrap_or_default();
        let inner = match shown {
            Shown::Question => "<form method=post action=\"?\"><p>Your bank asks: is it you?</p>\
                <button name=answer value=complete>Yes</button> <button name=answer value=fail>No</button></form>"
                .to_owned(),
            Shown::Form(problem) => {
                let option = |(number, name, _): &(&str, &str, Card)| {
                    format!("<option value={number}>{number} {name}</option>")
                };
                let options: String = cards::CARDS.iter().map(option).collect();
                format!(
                    "<p role=alert>{problem}</p><form method=post action=\"?\"><label>Card <select name=card>{options}\
                     </select></label> <button>Pay {} {}</button></form>",
                    session["amount_total"], session["currency"]
                )
            }
            Shown::On(_) | Shown::Ended => "<p>There is nothing to pay here any more.</p>".to_owned(),
        };
        format!(
            "<!doctype html><html lang=en><link rel=icon href=data:,><title>Checkout</title><h1>Checkout</h1>{inner}"
        )
    }
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_default().to_owned()
}
