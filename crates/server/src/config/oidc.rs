//! The `[oidc]` part of scrip.toml: the identity provider that people may sign in with.
//!
//! It owns those keys and their defaults. It opens no connection.

use std::time::Duration;

use super::providers::{required, secret, timeout};
use super::{Environment, Secret, web_address};
use crate::toml_reader::Table;

/// An OpenID Connect provider, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// As its tokens name it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// How long one request may take.
    pub timeout: Duration,
}

pub(super) fn read(table: &Table, environment: Environment) -> Result<OidcConfig, String> {
    table.only(&["issuer", "client_id", "client_secret", "timeout_seconds"])?;
    let issuer = required(table, "issuer", 2_000)?;
    // Tokens name it letter by letter, so a slash at its end stays.
    web_address(table, "issuer", issuer)?;
    Ok(OidcConfig {
        issuer: issuer.to_owned(),
        client_id: required(table, "client_id", 500)?.to_owned(),
        client_secret: secret(table, "client_secret", required(table, "client_secret", 500)?, environment)?,
        timeout: timeout(table)?,
    })
}
