//! Stripe's own subscriptions: products, prices, periods, and an invoice for each, charged without a person.
//!
//! Scrip decides by itself when money is taken and uses none of this. It is what whoever moves from Stripe Billing has, and shows that
//! the stand-in keeps time. An invoice is charged in the moment in which its period begins, without the hour as a draft.
//!
//! Invariant: a subscription has one invoice for each period that has begun.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};

use crate::disputes::whole;
use crate::payments::{Owner, amount, metadata, missing, required};
use crate::stripe::{Answer, Refusal, Stripe};

/// Days after a decline until the next try; after the last one the subscription ends.
const RETRY_DAYS: [i64; 3] = [3, 5, 7];

impl Stripe {
    pub(crate) fn create_product(&mut self, given: &Value) -> Answer {
        let product = json!({ "active": true, "default_price": null, "description": given["description"], "images": [],
            "marketing_features": [], "metadata": metadata(given), "name": required(given, "name")?,
            "package_dimensions": null, "shippable": null, "statement_descriptor": null, "tax_code": null,
            "type": "service", "unit_label": null, "updated": self.now(), "url": null });
        let id = self.make("product", "prod", product);
        self.happened("product.created", &id);
        self.find("product", &id, "id")
    }

    pub(crate) fn create_price(&mut self, given: &Value) -> Answer {
        let product = self.find("product", required(given, "product")?, "product")?["id"].clone();
        let interval = required(&given["recurring"], "interval")?;
        if !matches!(interval, "day" | "week" | "month" | "year") {
            let message = format!(
                "Invalid recurring[interval]: must be one of day, month, week, or year, not {interval}"
            );
            return Err(Refusal::invalid("parameter_invalid", "recurring[interval]", &message));
        }
        let each = given["recurring"]["interval_count"].as_str().and_then(|each| each.parse::<i64>().ok());
        let unit = amount(given, "unit_amount")?;
        let price = json!({ "active": true, "billing_scheme": "per_unit", "currency": required(given, "currency")?.to_lowercase(),
            "custom_unit_amount": null, "lookup_key": null, "metadata": metadata(given), "nickname": null,
            "product": product, "recurring": { "interval": interval, "interval_count": each.unwrap_or(1), "meter": null,
                "trial_period_days": null, "usage_type": "licensed" },
            "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null, "type": "recurring",
            "unit_amount": unit, "unit_amount_decimal": unit.to_string() });
        let id = self.make("price", "price", price);
        self.happened("price.created", &id);
        self.find("price", &id, "id")
    }

    pub(crate) fn create_subscription(&mut self, given: &Value) -> Answer {
        let customer = self.find("customer", required(given, "customer")?, "customer")?;
        let wanted =
            given["items"].as_array().and_then(|items| items.first()).ok_or_else(|| missing("items"))?;
        let price = self.find("price", required(wanted, "price")?, "items[0][price]")?;
        let quantity = wanted["quantity"].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        let method = match given["default_payment_method"].as_str() {
            Some(method) => self.find("payment_method", method, "default_payment_method")?["id"].clone(),
            None => Value::Null,
        };
        if method.is_null() && customer["invoice_settings"]["default_payment_method"].is_null() {
            let message = "This customer has no attached payment source or default payment method. Please consider adding a default payment method.";
            return Err(Refusal::invalid("resource_missing", "customer", message));
        }
        let now = self.now();
        let subscription = json!({ "application": null, "application_fee_percent": null,
            "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
            "billing_cycle_anchor": now, "billing_mode": { "type": "classic" }, "billing_schedules": [],
            "billing_thresholds": null, "cancel_at": null,
            "cancel_at_period_end": given["cancel_at_period_end"] == "true", "canceled_at": null,
            "cancellation_details": { "comment": null, "feedback": null, "reason": null },
            "collection_method": "charge_automatically", "currency": price["currency"], "customer": customer["id"],
            "days_until_due": null, "default_payment_method": method, "default_source": null, "default_tax_rates": [],
            "description": null, "discounts": [], "ended_at": null, "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
            "items": null, "latest_invoice": null, "metadata": metadata(given), "next_pending_invoice_item_invoice": null,
            "on_behalf_of": null, "pause_collection": null, "pending_invoice_item_interval": null,
            "pending_setup_intent": null, "pending_update": null, "schedule": null, "start_date": now,
            "status": "incomplete", "test_clock": null, "transfer_data": null, "trial_end": null, "trial_start": null });
        let id = self.make("subscription", "sub", subscription);
        self.serial += 1;
        let item = json!({ "id": format!("si_fake{:012}", self.serial), "object": "subscription_item", "billing_thresholds": null,
            "created": now, "current_period_start": now, "current_period_end": end_of(now, &price, 1), "discounts": [],
            "metadata": {}, "price": price, "quantity": quantity, "subscription": id, "tax_rates": [] });
        self.known(&id)["items"] = list(&format!("subscription_items?subscription={id}"), vec![item]);
        self.happened("customer.subscription.created", &id);
        let invoice = self.bill(&id, "subscription_create");
        if self.charge_invoice(&invoice, None).is_ok() {
            self.known(&id)["status"] = json!("active");
        }
        self.happened("customer.subscription.updated", &id);
        self.find("subscription", &id, "id")
    }

    pub(crate) fn update_subscription(&mut self, id: &str, given: &Value) -> Answer {
        let found = self.find("subscription", id, "id")?;
        if found["status"] == "canceled" {
            let message = "A canceled subscription can only update its cancellation_details and metadata.";
            return Err(Refusal::invalid("resource_state", "id", message));
        }
        if let Some(method) = given["default_payment_method"].as_str() {
            let method = self.find("payment_method", method, "default_payment_method")?["id"].clone();
            self.known(id)["default_payment_method"] = method;
        }
        if let Some(ends) = given["cancel_at_period_end"].as_str().map(|ends| ends == "true") {
            let (now, end) = (self.now(), item(&found)["current_period_end"].clone());
            let subscription = self.known(id);
            subscription["cancel_at_period_end"] = json!(ends);
            subscription["cancel_at"] = if ends { end } else { Value::Null };
            subscription["canceled_at"] = if ends { json!(now) } else { Value::Null };
            let reason = ends.then_some("cancellation_requested");
            subscription["cancellation_details"]["reason"] = json!(reason);
        }
        self.happened("customer.subscription.updated", id);
        self.find("subscription", id, "id")
    }

    pub(crate) fn cancel_subscription(&mut self, id: &str) -> Answer {
        let found = self.find("subscription", id, "id")?;
        if found["status"] != "canceled" {
            self.end_subscription(id, "cancellation_requested");
        }
        self.find("subscription", id, "id")
    }

    fn end_subscription(&mut self, id: &str, reason: &str) {
        let now = self.now();
        let subscription = self.known(id);
        subscription["status"] = json!("canceled");
        subscription["ended_at"] = json!(now);
        subscription["cancellation_details"]["reason"] = json!(reason);
        if subscription["canceled_at"].is_null() {
            subscription["canceled_at"] = json!(now);
        }
        self.happened("customer.subscription.deleted", id);
    }

    /// Begins every period that is due and tries again what was declined, each at its moment and in order.
    pub fn renew_subscriptions(&mut self) {
        let (clock, now) = (self.now, self.now());
        let due = |stripe: &Stripe| {
            let all = stripe.all("subscription").into_iter();
            all.filter_map(|it| Some((stripe.due(it)?, name(it)))).min().filter(|(at, _)| *at <= now)
        };
        while let Some((at, id)) = due(self) {
            self.now = Some(at);
            self.renew(&id);
        }
        self.now = clock;
    }

    /// When something is due of a subscription: the end of its period, or another try before.
    fn due(&self, subscription: &Value) -> Option<i64> {
        let live = matches!(subscription["status"].as_str(), Some("active" | "past_due"));
        let end = whole(&item(subscription)["current_period_end"]);
        let latest = self.get(subscription["latest_invoice"].as_str()?)?;
        live.then(|| latest["next_payment_attempt"].as_i64().map_or(end, |again| again.min(end)))
    }

    /// Does what is due now.
    fn renew(&mut self, id: &str) {
        let found = self.known(id).clone();
        let end = whole(&item(&found)["current_period_end"]);
        if end > self.now() {
            let latest = found["latest_invoice"].as_str().unwrap_or_default();
            return self.collect(id, latest);
        }
        if found["cancel_at_period_end"] == true {
            return self.end_subscription(id, "cancellation_requested");
        }
        let price = item(&found)["price"].clone();
        let (anchor, mut number) = (whole(&found["billing_cycle_anchor"]), 1);
        while end_of(anchor, &price, number) <= end {
            number += 1;
        }
        let item = &mut self.known(id)["items"]["data"][0];
        item["current_period_start"] = json!(end);
        item["current_period_end"] = json!(end_of(anchor, &price, number));
        let invoice = self.bill(id, "subscription_cycle");
        self.collect(id, &invoice);
        self.happened("customer.subscription.updated", id);
    }

    /// Charges a renewal; a decline makes it past due, and in the end ends it.
    fn collect(&mut self, id: &str, invoice: &str) {
        if self.charge_invoice(invoice, None).is_ok() {
            self.known(id)["status"] = json!("active");
            return;
        }
        self.known(id)["status"] = json!("past_due");
        let tries = whole(&self.known(invoice)["attempt_count"]);
        let again = RETRY_DAYS.get(usize::try_from(tries - 1).unwrap_or(usize::MAX));
        let again = again.map(|days| self.now() + days * 86_400);
        self.known(invoice)["next_payment_attempt"] = json!(again);
        if again.is_none() {
            self.end_subscription(id, "payment_failed");
        }
    }

    /// The invoice of the period that runs.
    fn bill(&mut self, id: &str, reason: &str) -> String {
        let (subscription, now) = (self.known(id).clone(), self.now());
        let item = item(&subscription).clone();
        let total = whole(&item["price"]["unit_amount"]) * whole(&item["quantity"]);
        let period = json!({ "start": item["current_period_start"], "end": item["current_period_end"] });
        self.serial += 1;
        let mut line = json!({ "id": format!("il_fake{:012}", self.serial), "object": "line_item", "amount": total,
            "currency": subscription["currency"], "description": null, "discount_amounts": [], "discountable": true,
            "discounts": [], "invoice": null, "livemode": self.livemode, "metadata": {},
            "parent": { "type": "subscription_item_details", "invoice_item_details": null,
                "subscription_item_details": { "invoice_item": null, "proration": false, "proration_details": null,
                    "subscription": id, "subscription_item": item["id"] } },
            "period": period, "pretax_credit_amounts": [],
            "pricing": { "type": "price_details", "unit_amount_decimal": item["price"]["unit_amount_decimal"],
                "price_details": { "price": item["price"]["id"], "product": item["price"]["product"] } },
            "quantity": item["quantity"], "subtotal": total, "taxes": [] });
        let number = self.all("invoice").len() + 1;
        let said = json!({ "amount_due": total, "amount_remaining": total, "attempt_count": 0, "attempted": false,
            "auto_advance": true, "billing_reason": reason, "collection_method": "charge_automatically",
            "currency": subscription["currency"], "customer": subscription["customer"], "effective_at": now,
            "hosted_invoice_url": format!("{}/i/fake/{number}", self.base), "lines": null, "metadata": {},
            "next_payment_attempt": null, "number": format!("FAKE-{number:04}"),
            "parent": { "type": "subscription_details", "quote_details": null,
                "subscription_details": { "metadata": subscription["metadata"], "subscription": id } },
            "period_start": period["start"], "period_end": period["end"], "status": "open",
            "status_transitions": { "finalized_at": now, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null },
            "subtotal": total, "subtotal_excluding_tax": total, "total": total, "total_excluding_tax": total });
        let mut invoice = plain_invoice();
        said.as_object().into_iter().flatten().for_each(|(name, value)| invoice[name] = value.clone());
        let invoice = self.make("invoice", "in", invoice);
        line["invoice"] = json!(invoice);
        self.known(&invoice)["lines"] = list(&format!("invoices/{invoice}/lines"), vec![line]);
        self.known(id)["latest_invoice"] = json!(invoice);
        self.happened("invoice.created", &invoice);
        self.happened("invoice.finalized", &invoice);
        invoice
    }

    /// Takes the money of an invoice from the card that is named, or from the one of its subscription or customer.
    fn charge_invoice(&mut self, id: &str, method: Option<&str>) -> Result<(), Refusal> {
        let invoice = self.known(id).clone();
        let subscription =
            invoice["parent"]["subscription_details"]["subscription"].as_str().unwrap_or_default();
        let own = self.known(subscription)["default_payment_method"].as_str().map(str::to_owned);
        let customer = invoice["customer"].as_str().unwrap_or_default().to_owned();
        let chosen =
            self.known(&customer)["invoice_settings"]["default_payment_method"].as_str().map(str::to_owned);
        let method = method.map(str::to_owned).or(own).or(chosen).unwrap_or_default();
        let intent = match self.payment_of(id) {
            Some(payment) => payment["payment"]["payment_intent"].as_str().unwrap_or_default().to_owned(),
            None => {
                let currency = invoice["currency"].as_str().unwrap_or_default();
                let intent =
                    self.make_intent(whole(&invoice["total"]), currency, &invoice["customer"], &Value::Null);
                let payment = json!({ "amount_paid": null, "amount_requested": invoice["total"], "currency": currency,
                    "invoice": id, "is_default": true, "payment": { "type": "payment_intent", "payment_intent": intent },
                    "status": "open", "status_transitions": { "canceled_at": null, "paid_at": null } });
                self.make("invoice_payment", "inpay", payment);
                intent
            }
        };
        self.known(&intent)["payment_method"] = json!(method);
        let attempt = whole(&invoice["attempt_count"]) + 1;
        let invoice = self.known(id);
        invoice["attempted"] = json!(true);
        invoice["attempt_count"] = json!(attempt);
        if let Err(refusal) = self.confirm(&intent, Owner::Absent) {
            self.happened("invoice.payment_failed", id);
            return Err(refusal);
        }
        self.paid_invoice(id);
        Ok(())
    }

    fn payment_of(&self, invoice: &str) -> Option<Value> {
        self.all("invoice_payment").into_iter().find(|payment| payment["invoice"] == invoice).cloned()
    }

    fn paid_invoice(&mut self, id: &str) {
        let now = self.now();
        let invoice = self.known(id);
        invoice["status"] = json!("paid");
        invoice["amount_paid"] = invoice["total"].clone();
        invoice["amount_remaining"] = json!(0);
        invoice["next_payment_attempt"] = Value::Null;
        invoice["status_transitions"]["paid_at"] = json!(now);
        if let Some(payment) = self.payment_of(id) {
            let payment = self.known(&name(&payment));
            payment["status"] = json!("paid");
            payment["amount_paid"] = payment["amount_requested"].clone();
            payment["status_transitions"]["paid_at"] = json!(now);
        }
        self.happened("invoice.paid", id);
        self.happened("invoice.payment_succeeded", id);
    }

    pub(crate) fn pay_invoice(&mut self, id: &str, given: &Value) -> Answer {
        let invoice = self.find("invoice", id, "invoice")?;
        if invoice["status"] != "open" {
            return Err(Refusal::invalid("invoice_not_open", "invoice", "Invoice is already paid"));
        }
        self.charge_invoice(id, given["payment_method"].as_str())?;
        let subscription =
            invoice["parent"]["subscription_details"]["subscription"].as_str().unwrap_or_default();
        let found = self.known(subscription);
        if found["latest_invoice"] == id
            && matches!(found["status"].as_str(), Some("incomplete" | "past_due"))
        {
            found["status"] = json!("active");
            self.happened("customer.subscription.updated", subscription);
        }
        self.find("invoice", id, "invoice")
    }
}

/// What an invoice here leaves open.
const OPEN: &str = "account_tax_ids application automatically_finalizes_at custom_fields customer_address customer_email customer_name \
    customer_phone customer_shipping default_payment_method default_source description due_date footer from_invoice invoice_pdf \
    last_finalization_error latest_revision on_behalf_of receipt_number rendering shipping_cost shipping_details statement_descriptor \
    test_clock webhooks_delivered_at";

/// What every invoice here says.
fn plain_invoice() -> Value {
    let mut invoice = json!({ "account_country": "US", "account_name": "Fake", "amount_overpaid": 0, "amount_paid": 0,
        "amount_shipping": 0,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_tax_rates": [], "discounts": [],
        "ending_balance": 0, "issuer": { "type": "self" },
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
        "total_discount_amounts": [], "total_pretax_credit_amounts": [], "total_taxes": [] });
    OPEN.split(' ').for_each(|name| invoice[name] = Value::Null);
    invoice
}

/// The one item of a subscription.
fn item(subscription: &Value) -> &Value {
    &subscription["items"]["data"][0]
}

fn name(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_default().to_owned()
}

fn list(path: &str, data: Vec<Value>) -> Value {
    json!({ "object": "list", "url": format!("/v1/{path}"), "has_more": false, "data": data })
}

/// Where so many intervals from an anchor end: the 31st is the last day of a shorter month, and the 31st again.
fn end_of(anchor: i64, price: &Value, number: i64) -> i64 {
    let count = whole(&price["recurring"]["interval_count"]) * number;
    let span = match price["recurring"]["interval"].as_str() {
        Some("day") => count.days(),
        Some("week") => (7 * count).days(),
        Some("year") => count.years(),
        _ => count.months(),
    };
    let anchor = Timestamp::from_second(anchor).unwrap_or_default().to_zoned(TimeZone::UTC);
    anchor.checked_add(span).map_or(i64::MAX, |end| end.timestamp().as_second())
}
