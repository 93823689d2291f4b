//! The parameters of each write and each list: whatever is not in the table is refused, as Stripe refuses it.
//!
//! `tests/stripe` holds the table against the types of Stripe's own SDK.

use serde_json::{Value, json};

use crate::stripe::{Ask, Refusal};

/// Requests and their parameters, those of lists and objects with a dot; `metadata` takes any name.
pub const PARAMETERS: &[(&str, &str)] = &[
    ("POST products", "name description metadata expand"),
    (
        "POST prices",
        "product currency unit_amount recurring.interval recurring.interval_count metadata expand",
    ),
    (
        "POST subscriptions",
        "customer items.price items.quantity default_payment_method cancel_at_period_end off_session metadata expand",
    ),
    ("POST subscriptions/*", "cancel_at_period_end default_payment_method metadata expand"),
    ("DELETE subscriptions/*", "expand"),
    ("POST invoices/*/pay", "payment_method off_session expand"),
    ("GET subscriptions", "customer status created.gte created.gt limit starting_after expand"),
    ("GET invoices", "customer subscription status created.gte created.gt limit starting_after expand"),
    ("GET invoice_payments", "invoice status created.gte created.gt limit starting_after expand"),
    (
        "POST tax/calculations",
        "currency line_items.amount line_items.reference line_items.tax_behavior customer expand",
    ),
    ("POST customers", "email name description metadata expand"),
    ("POST customers/*", "email name description metadata invoice_settings.default_payment_method expand"),
    ("POST payment_methods/*/attach", "customer expand"),
    ("POST payment_methods/*/detach", "expand"),
    (
        "POST payment_intents",
        "amount currency customer payment_method off_session confirm description metadata setup_future_usage return_url receipt_email automatic_payment_methods.enabled automatic_payment_methods.allow_redirects hooks.inputs.tax.calculation expand",
    ),
    ("POST payment_intents/*/confirm", "payment_method off_session return_url expand"),
    ("POST payment_intents/*/cancel", "cancellation_reason expand"),
    ("POST refunds", "payment_intent charge amount reason metadata expand"),
    ("POST disputes/*/close", "expand"),
    (
        "POST checkout/sessions",
        "mode line_items.price_data.currency line_items.price_data.unit_amount line_items.price_data.tax_behavior line_items.price_data.product_data.name line_items.price_data.product_data.description line_items.quantity success_url cancel_url client_reference_id customer customer_creation customer_email customer_update.address automatic_tax.enabled expires_at metadata payment_intent_data.metadata payment_intent_data.description payment_intent_data.setup_future_usage expand",
    ),
    ("POST checkout/sessions/*/expire", "expand"),
    ("POST billing_portal/sessions", "customer return_url expand"),
    ("GET payment_intents", "customer created.gte created.gt limit starting_after expand"),
    ("GET refunds", "payment_intent charge created.gte created.gt limit starting_after expand"),
    ("GET disputes", "payment_intent charge created.gte created.gt limit starting_after expand"),
    ("GET checkout/sessions", "payment_intent customer created.gte created.gt limit starting_after expand"),
    ("GET events", "type created.gte created.gt limit starting_after expand"),
    ("GET customers/*/payment_methods", "type limit starting_after expand"),
];

pub(crate) fn check(ask: &Ask<'_>) -> Result<(), Refusal> {
    let Some((_, known)) = PARAMETERS.iter().find(|(request, _)| fits(request, ask)) else { return Ok(()) };
    let mut names = Vec::new();
    collect(&ask.parameters, "", &mut names);
    match names.iter().find(|name| !known.split(' ').any(|one| one == *name)) {
        None => Ok(()),
        Some(name) => Err(Refusal {
            status: 400,
            error: json!({ "type": "invalid_request_error", "code": "parameter_unknown", "param": name,
                "message": format!("Received unknown parameter: {name}") }),
        }),
    }
}

fn fits(request: &str, ask: &Ask<'_>) -> bool {
    let Some((method, path)) = request.split_once(' ') else { return false };
    let (wanted, given) = (path.split('/'), ask.path.split('/'));
    method == ask.method
        && wanted.clone().count() == given.clone().count()
        && wanted.zip(given).all(|(wanted, given)| wanted == "*" || wanted == given)
}

fn collect(value: &Value, name: &str, names: &mut Vec<String>) {
    match value {
        Value::Object(members) if !name.ends_with("metadata") => {
            members.iter().for_each(|(member, value)| {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                collect(value, &name, names);
            })
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, names)),
        _ => names.push(name.to_owned()),
    }
}
