//! Stripe Tax, as far as it is asked for: one rate for everybody whose address is known.
//!
//! Owns what a checkout adds to its price, and calculations for a customer who is not there.

use serde_json::{Value, json};

use crate::disputes::whole;
use crate::payments::{amount, required};
use crate::stripe::{Answer, Refusal, Stripe};

/// Seconds that a calculation can be used.
const CALCULATION: i64 = 90 * 86_400;

impl Stripe {
    /// Tax on an amount, rounded half up.
    fn tax_on(&self, amount: i64) -> i64 {
        (amount * self.tax_rate + 5_000) / 10_000
    }

    /// What a new checkout says of its tax: nothing is known before somebody has written their address.
    pub(crate) fn tax_asked(&self, given: &Value, customer: &Value) -> Answer {
        if given["automatic_tax"]["enabled"] != "true" {
            return Ok(json!({ "enabled": false, "liability": null, "provider": null, "status": null }));
        }
        let items = given["line_items"].as_array().into_iter().flatten();
        if items.clone().any(|item| item["price_data"]["tax_behavior"] != "exclusive") {
            let message = "You must specify the `tax_behavior` of each price when `automatic_tax` is enabled; this stand-in takes `exclusive` only.";
            return Err(Refusal::invalid(
                "parameter_missing",
                "line_items[0][price_data][tax_behavior]",
                message,
            ));
        }
        let known = customer.as_str().is_none_or(|customer| self.lives_somewhere(customer));
        if !known && given["customer_update"]["address"] != "auto" {
            let message = "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.";
            return Err(Refusal::invalid(
                "customer_tax_location_invalid",
                "customer_update[address]",
                message,
            ));
        }
        Ok(json!({ "enabled": true, "liability": { "type": "self" }, "provider": "stripe",
            "status": "requires_location_inputs" }))
    }

    fn lives_somewhere(&self, customer: &str) -> bool {
        self.get(customer).is_some_and(|customer| customer["address"].is_object())
    }

    /// Somebody has written an address into a checkout: its tax is known, and it is the customer's address from now on.
    pub(crate) fn tax_session(&mut self, session: &str) {
        let found = self.known(session).clone();
        if found["automatic_tax"]["enabled"] != true {
            return;
        }
        if let Some(customer) = found["customer"].as_str() {
            self.known(customer)["address"] = json!({ "city": "Berlin", "country": "DE", "line1": "Street 1",
                "line2": null, "postal_code": "10115", "state": null });
            self.happened("customer.updated", customer);
        }
        let tax = self.tax_on(whole(&found["amount_subtotal"]));
        let session = self.known(session);
        session["automatic_tax"]["status"] = json!("complete");
        session["total_details"]["amount_tax"] = json!(tax);
        session["amount_total"] = json!(whole(&found["amount_subtotal"]) + tax);
    }

    pub(crate) fn create_calculation(&mut self, given: &Value) -> Answer {
        let currency = required(given, "currency")?.to_lowercase();
        let customer = self.find("customer", required(given, "customer")?, "customer")?;
        if !customer["address"].is_object() {
            let message =
                "We could not determine the customer's tax location based on the provided customer address.";
            return Err(Refusal::invalid("customer_tax_location_invalid", "customer", message));
        }
        let (mut net, mut tax) = (0, 0);
        for item in given["line_items"].as_array().into_iter().flatten() {
            let each = amount(item, "amount")?;
            (net, tax) = (net + each, tax + self.tax_on(each));
        }
        let percentage = format!("{}.{:02}", self.tax_rate / 100, self.tax_rate % 100);
        let calculation = json!({ "amount_total": net + tax, "currency": currency, "customer": customer["id"],
            "customer_details": { "address": customer["address"], "address_source": "billing", "ip_address": null,
                "tax_ids": [], "taxability_override": "none" },
            "expires_at": self.now() + CALCULATION, "ship_from_details": null, "shipping_cost": null,
            "tax_amount_exclusive": tax, "tax_amount_inclusive": 0, "tax_date": self.now(),
            "tax_breakdown": [{ "amount": tax, "inclusive": false, "taxability_reason": "standard_rated",
                "taxable_amount": net, "tax_rate_details": { "country": "DE", "flat_amount": null,
                    "percentage_decimal": percentage, "rate_type": "percentage", "state": null, "tax_type": "vat" } }] });
        let id = self.make("tax.calculation", "taxcalc", calculation);
        // It is no object that is kept by its time.
        if let Some(members) = self.known(&id).as_object_mut() {
            members.remove("created");
        }
        self.find("tax.calculation", &id, "id")
    }

    /// Whether an intent takes what its calculation came to.
    pub(crate) fn is_calculated(&self, given: &Value, amount: i64) -> Result<(), Refusal> {
        let Some(calculation) = given["hooks"]["inputs"]["tax"]["calculation"].as_str() else {
            return Ok(());
        };
        let parameter = "hooks[inputs][tax][calculation]";
        let found = self.find("tax.calculation", calculation, parameter)?;
        if whole(&found["amount_total"]) == amount {
            return Ok(());
        }
        let message = "The PaymentIntent's amount must be the total of its tax calculation.";
        Err(Refusal::invalid("parameter_invalid", parameter, message))
    }
}
