//! The `[payments]` part of scrip.toml.
//!
//! It owns those keys and their defaults. It opens no connection.
//!
//! Invariant: a key that moves real money goes nowhere but to Stripe.

use super::providers::{required, secret, timeout};
use super::{Environment, PaymentsConfig, STRIPE, Secret, StripeConfig, web_address};
use crate::catalog::Tax;
use crate::toml_reader::Table;

/// Secrets of events at a time.
const MAX_SECRETS: usize = 8;

pub(super) fn read(
    table: &Table,
    tax: Option<&Tax>,
    environment: Environment,
) -> Result<PaymentsConfig, String> {
    match required(table, "kind", 64)? {
        "sandbox" => {
            table.only(&["kind"])?;
            Ok(PaymentsConfig::Sandbox)
        }
        "stripe" => stripe(table, tax, environment).map(PaymentsConfig::Stripe),
        _ => Err(table.error("kind", "must be \"sandbox\" or \"stripe\"")),
    }
}

fn stripe(table: &Table, tax: Option<&Tax>, environment: Environment) -> Result<StripeConfig, String> {
    table.only(&[
        "kind",
        "secret_key",
        "webhook_secrets",
        "api_url",
        "custom_domain",
        "automatic_tax",
        "timeout_seconds",
    ])?;
    let secret_key = secret(table, "secret_key", required(table, "secret_key", 500)?, environment)?;
    let known = ["sk_test_", "rk_test_", "sk_live_", "rk_live_"]
        .iter()
        .any(|begin| secret_key.reveal().starts_with(begin));
    if !known || !secret_key.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(table
            .error("secret_key", "must be a key that begins with sk_test_, rk_test_, sk_live_ or rk_live_"));
    }
    let names =
        table.texts("webhook_secrets")?.ok_or_else(|| table.error("webhook_secrets", "is missing"))?;
    let read = |name: &&str| secret(table, "webhook_secrets", name, environment);
    let webhook_secrets = names.iter().map(read).collect::<Result<Vec<Secret>, String>>()?;
    let genuine =
        |secret: &Secret| secret.reveal().len() > "whsec_".len() && secret.reveal().starts_with("whsec_");
    if !(1..=MAX_SECRETS).contains(&webhook_secrets.len()) || !webhook_secrets.iter().all(genuine) {
        return Err(table.error("webhook_secrets", "must be 1 to 8 secrets that begin with whsec_"));
    }
    let api_url = match table.text("api_url", 2_000)? {
        Some(url) => web_address(table, "api_url", url)?,
        None => STRIPE.to_owned(),
    };
    let custom_domain = match table.text("custom_domain", 253)? {
        Some(domain) if domain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) => {
            Some(web_address(table, "custom_domain", &format!("https://{domain}"))?)
        }
        Some(_) => return Err(table.error("custom_domain", "must be a domain such as pay.example.com")),
        None => None,
    };
    let automatic_tax = table.flag("automatic_tax")?.unwrap_or(false);
    if automatic_tax && tax.is_some() {
        return Err(
            table.error("automatic_tax", "cannot be added to the tax of the catalog: name one of them")
        );
    }
    let timeout = timeout(table)?;
    let config = StripeConfig { secret_key, webhook_secrets, api_url, custom_domain, automatic_tax, timeout };
    if config.is_live() && config.api_url != STRIPE {
        return Err(table.error("api_url", "must be left out with a live key"));
    }
    Ok(config)
}
