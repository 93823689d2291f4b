//! The `[providers]` part of scrip.toml, and what it shares with `[mail]`.
//!
//! It owns those keys and their defaults. It opens no connection.
//!
//! Invariant: every address and token it returns has been checked or resolved.

use std::time::Duration;

use super::{
    Cost, CostPer, Costs, EnrichmentConfig, Environment, HttpConfig, MailConfig, MessagesConfig,
    ProvidersConfig, Secret, web_address,
};
use crate::toml_reader::Table;

const HTTP_KEYS: [&str; 8] =
    ["kind", "url", "token", "idempotent", "query", "timeout_seconds", "cost", "cost_per"];

pub(super) fn read(table: &Table, environment: Environment) -> Result<ProvidersConfig, String> {
    table.only(&["discovery", "enrichment", "linkedin", "messages", "email", "currency"])?;
    let http = |key: &str| match table.table(key)? {
        Some(table) => {
            table.only(&HTTP_KEYS)?;
            http(&table, environment).map(Some)
        }
        None => Ok::<_, String>(None),
    };
    let cost = |key: &str| table.table(key)?.map_or(Ok(Cost::default()), |table| cost(&table));
    Ok(ProvidersConfig {
        costs: Costs {
            discovery: cost("discovery")?,
            linkedin: cost("linkedin")?,
            messages: cost("messages")?,
            email: cost("email")?,
        },
        currency: currency(table)?,
        discovery: http("discovery")?,
        enrichment: enrichments(table, environment)?,
        linkedin: http("linkedin")?,
        messages: table.table("messages")?.map(|table| messages(&table, environment)).transpose()?,
        email: table.table("email")?.map(|table| email(&table, environment)).transpose()?,
    })
}

/// `url`, `from` and `timeout_seconds`; the caller has refused other keys.
pub(super) fn mail(table: &Table, environment: Environment) -> Result<MailConfig, String> {
    let url = required(table, "url", 2_000)?;
    let url = secret(table, "url", url, environment)?;
    let parsed = reqwest::Url::parse(url.reveal());
    let mail = |url: &reqwest::Url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host();
    if !parsed.as_ref().is_ok_and(mail) {
        return Err(table.error("url", "must be an smtp:// or smtps:// address"));
    }
    let from = required(table, "from", 320)?;
    if from.parse::<lettre::message::Mailbox>().is_err() {
        return Err(table.error("from", "must be an e-mail address, or \"Name <address>\""));
    }
    Ok(MailConfig { url, from: from.to_owned(), timeout: timeout(table)? })
}

fn http(table: &Table, environment: Environment) -> Result<HttpConfig, String> {
    kind(table, "http")?;
    Ok(HttpConfig {
        url: web_address(table, "url", required(table, "url", 2_000)?)?,
        token: token(table, environment)?,
        idempotent: table.flag("idempotent")?.unwrap_or(false),
        query: table.flag("query")?.unwrap_or(false),
        timeout: timeout(table)?,
    })
}

fn enrichments(table: &Table, environment: Environment) -> Result<Vec<EnrichmentConfig>, String> {
    let tables = table.tables("enrichment")?;
    if tables.len() > 32 {
        return Err(table.error("enrichment", "must be at most 32 providers"));
    }
    let mut providers: Vec<EnrichmentConfig> = Vec::with_capacity(tables.len());
    for (index, table) in tables.iter().enumerate() {
        table.only(&[&HTTP_KEYS[..], &["name", "fields"]].concat())?;
        let name = match table.text("name", 64)? {
            Some(name) => name.to_owned(),
            None => format!("enrichment_{}", index + 1),
        };
        if providers.iter().any(|other| other.name == name) {
            return Err(table.error("name", "is the name of another provider"));
        }
        let fields = table.texts("fields")?;
        if fields.as_ref().is_some_and(Vec::is_empty) {
            return Err(table.error("fields", "must name at least one field, or be left out for all"));
        }
        providers.push(EnrichmentConfig {
            name,
            fields: fields.map(|fields| fields.into_iter().map(str::to_owned).collect()),
            cost: cost(table)?,
            http: http(table, environment)?,
        });
    }
    Ok(providers)
}

fn messages(table: &Table, environment: Environment) -> Result<MessagesConfig, String> {
    table.only(&["kind", "base_url", "model", "token", "timeout_seconds", "cost", "cost_per"])?;
    kind(table, "openai")?;
    Ok(MessagesConfig {
        base_url: web_address(table, "base_url", required(table, "base_url", 2_000)?)?,
        model: required(table, "model", 200)?.to_owned(),
        token: token(table, environment)?,
        timeout: timeout(table)?,
    })
}

fn email(table: &Table, environment: Environment) -> Result<MailConfig, String> {
    table.only(&["kind", "url", "from", "timeout_seconds", "cost", "cost_per"])?;
    kind(table, "smtp")?;
    mail(table, environment)
}

fn kind(table: &Table, expected: &str) -> Result<(), String> {
    if required(table, "kind", 64)? == expected {
        Ok(())
    } else {
        Err(table.error("kind", &format!("must be \"{expected}\"")))
    }
}

fn token(table: &Table, environment: Environment) -> Result<Option<Secret>, String> {
    let Some(text) = table.text("token", 4_000)? else { return Ok(None) };
    let token = secret(table, "token", text, environment)?;
    // It travels in a header, where other characters would end it or be refused at the first call.
    if token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(token))
    } else {
        Err(table.error("token", "must be visible ASCII characters without spaces"))
    }
}

/// `env:NAME` is the value of that variable; anything else is the secret itself.
pub(super) fn secret(
    table: &Table,
    key: &str,
    text: &str,
    environment: Environment,
) -> Result<Secret, String> {
    let Some(name) = text.strip_prefix("env:") else { return Ok(Secret::new(text)) };
    match environment(name).filter(|value| !value.is_empty()) {
        Some(value) => Ok(Secret::new(value)),
        None => Err(table.error(key, &format!("the environment variable {name} is not set"))),
    }
}

pub(super) fn timeout(table: &Table) -> Result<Duration, String> {
    let seconds = table.number("timeout_seconds", 1..=600, "a whole number of seconds, 1 to 600")?;
    Ok(Duration::from_secs(seconds.unwrap_or(20).unsigned_abs()))
}

fn cost(table: &Table) -> Result<Cost, String> {
    let per = match table.text("cost_per", 64)? {
        None | Some("result") => CostPer::Result,
        Some("call") => CostPer::Call,
        Some(_) => return Err(table.error("cost_per", "must be \"result\" or \"call\"")),
    };
    Ok(Cost { micros: cost_micros(table)?, per })
}

fn currency(table: &Table) -> Result<Option<String>, String> {
    let Some(text) = table.text("currency", 64)? else { return Ok(None) };
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let problem = || table.error("currency", "must be three letters such as \"USD\"");
    if is_code { Ok(Some(text.to_ascii_uppercase())) } else { Err(problem()) }
}

/// Reads a decimal with at most six places as whole millionths, without ever rounding.
fn cost_micros(table: &Table) -> Result<i64, String> {
    let Some(text) = table.decimal("cost")? else { return Ok(0) };
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let micros = if digits(whole) && digits(places) && whole.len() <= 6 && places.len() <= 6 {
        format!("{whole}{places:0<6}").parse::<i64>().ok()
    } else {
        None
    };
    micros.ok_or_else(|| table.error("cost", "must be 0 to 999999 with at most six decimal places"))
}

pub(super) fn required<'a>(table: &Table<'a>, key: &str, longest: usize) -> Result<&'a str, String> {
    table.text(key, longest)?.ok_or_else(|| table.error(key, "is missing"))
}
