//! The `[payments]` part of scrip.toml.
//!
//! It owns those keys and their defaults. It opens no connection.
//!
//! Invariant: a key that moves real money goes nowhere but to Stripe.

use super::providers::{required, secret, timeout};
use super::{Environment, PaymentsConfig, STRIPE, Secret, StripeConfig, web_address};
use crate::toml_reader::Table;

/// Secrets of events at a time.
const MAX_SECRETS: usize = 8;

pub(super) fn read(table: &Table, environment: Environment) -> Result<PaymentsConfig, String> {
    match required(table, "kind", 64)? {
        "sandbox" => {
            table.only(&["kind"])?;
            Ok(PaymentsConfig::Sandbox)
        }
        "stripe" => stripe(table, environment).map(PaymentsConfig::Stripe),
        _ => Err(table.error("kind", "must be \"sandbox\" or \"stripe\"")),
    }
}

fn stripe(table: &Table, environment: Environment) -> Result<StripeConfig, String> {
    table.only(&["kind", "secret_key", "webhook_secrets", "api_url", "timeout_seconds"])?;
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
    let config = StripeConfig { secret_key, webhook_secrets, api_url, timeout: timeout(table)? };
    if config.is_live() && config.api_url != STRIPE {
        return Err(table.error("api_url", "must be left out with a live key"));
    }
    Ok(config)
}
