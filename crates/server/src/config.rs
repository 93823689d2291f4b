//! The only reader of the environment and of configuration files.
//!
//! It owns scrip.toml: which keys there are and what they may hold. It opens no connection and knows no account;
//! exit codes are the caller's.
//!
//! Invariant: a `Config` that exists is complete: every `env:NAME` is resolved, every address has been checked,
//! and nothing else reads the environment or a file again.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::toml_reader::{self, Table};

mod oidc;
mod payments;
mod providers;
mod trust;
mod webhooks;

pub use oidc::OidcConfig;
pub use trust::Trust;
pub(crate) use webhooks::is_public;
pub use webhooks::{Network, WebhooksConfig};

/// The largest configuration or catalog file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The longest `public_url`, in bytes: with the longest address behind it, a link still fits into the header of a mail.
pub const MAX_PUBLIC_URL: usize = 340;

/// Everything that is configured. `Config::default()` is what serves without a file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The price lists, by the moment since which they hold; the built-in example when none is named.
    pub catalogs: Vec<Catalog>,
    /// What campaigns call.
    pub providers: ProvidersConfig,
    /// Who collects money; `None`: nobody, top-ups are refused.
    pub payments: Option<PaymentsConfig>,
    /// Where notices are mailed from; `None`: in-app notices only.
    pub mail: Option<MailConfig>,
    /// Where events may be sent besides the open internet.
    pub webhooks: WebhooksConfig,
    /// Whom people may sign in with besides mail and passwords.
    pub oidc: Option<OidcConfig>,
    /// What links in mails and answers begin with, without a trailing slash.
    pub public_url: Option<String>,
    /// What seals credentials in the database; `None`: a key beside it, or one that follows from the operator's.
    pub seal_key: Option<Secret>,
    /// Who may vouch for mail servers besides the authorities that everybody trusts.
    pub trust: Trust,
}

/// The providers that are configured.
#[derive(Clone, Debug, Default)]
pub struct ProvidersConfig {
    /// Finds leads.
    pub discovery: Option<HttpConfig>,
    /// Fill in contacts and fields; tried in this order.
    pub enrichment: Vec<EnrichmentConfig>,
    /// Sends invitations and messages.
    pub linkedin: Option<HttpConfig>,
    /// Writes messages.
    pub messages: Option<MessagesConfig>,
    /// Sends e-mail for every sender that has no server of its own.
    pub email: Option<MailConfig>,
    /// What each of them costs, but for enrichment, where each has its own.
    pub costs: Costs,
    /// The currency of costs, three uppercase letters; `None`: the price list's.
    pub currency: Option<String>,
}

/// What providers cost the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Costs {
    pub discovery: Cost,
    pub linkedin: Cost,
    pub messages: Cost,
    pub email: Cost,
}

/// What a provider costs the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// In millionths of the operator's currency.
    pub micros: i64,
    /// What that is for.
    pub per: CostPer,
}

/// What a provider is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CostPer {
    /// Each result that it brings.
    #[default]
    Result,
    /// Each call that it may have done, whatever it brings.
    Call,
}

impl Cost {
    /// What a call costs that brought so many results; `None`: it was certainly not done.
    pub fn of(self, results: Option<i64>) -> i64 {
        match (self.per, results) {
            (_, None) => 0,
            (CostPer::Result, Some(results)) => self.micros.saturating_mul(results),
            (CostPer::Call, Some(_)) => self.micros,
        }
    }
}

/// A provider that speaks the HTTP contract.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where requests are posted to.
    pub url: String,
    /// The bearer token, if the provider wants one.
    pub token: Option<Secret>,
    /// Whether a repeat under the same key has no second effect. `false` unless the file says otherwise.
    pub idempotent: bool,
    /// Whether the provider answers what became of a key. `false` unless the file says otherwise.
    pub query: bool,
    /// How long one attempt may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

/// One of the enrichment providers.
#[derive(Clone, Debug)]
pub struct EnrichmentConfig {
    /// Its name in reports.
    pub name: String,
    /// The fields it is asked for, `contact` being one of them; `None`: all.
    pub fields: Option<Vec<String>>,
    /// What it costs the operator.
    pub cost: Cost,
    /// How it is called.
    pub http: HttpConfig,
}

/// A provider that speaks the chat-completions format.
#[derive(Clone, Debug)]
pub struct MessagesConfig {
    /// What `/chat/completions` is appended to, without a trailing slash.
    pub base_url: String,
    /// The model's name.
    pub model: String,
    /// The bearer token, if the provider wants one.
    pub token: Option<Secret>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// An SMTP server and the address mail comes from.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// `smtp://` or `smtps://`; secret because it may hold a password.
    pub url: Secret,
    /// The sender, with or without a name.
    pub from: String,
    /// How long everything before, and everything after, the end of the message may take.
    pub timeout: Duration,
}

/// Who collects money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentsConfig {
    /// A local checkout page that takes no money.
    Sandbox,
    /// Stripe.
    Stripe(StripeConfig),
}

/// Where Stripe's API is.
pub const STRIPE: &str = "https://api.stripe.com";

/// How Stripe is called, and how its events are told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeConfig {
    /// The secret or restricted key; its beginning says whether it moves real money.
    pub secret_key: Secret,
    /// What events are signed with; several while one is being replaced.
    pub webhook_secrets: Vec<Secret>,
    /// Where the API is.
    pub api_url: String,
    /// Where its Checkout and portal are besides its own addresses: the account's custom domain.
    pub custom_domain: Option<String>,
    /// Whether Stripe Tax says what tax is added to a price.
    pub automatic_tax: bool,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl StripeConfig {
    /// Whether it moves real money.
    pub fn is_live(&self) -> bool {
        ["sk_live_", "rk_live_"].iter().any(|begin| self.secret_key.reveal().starts_with(begin))
    }
}

/// Something that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// The secret itself, for the place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            catalogs: vec![Catalog::builtin()],
            providers: ProvidersConfig::default(),
            payments: None,
            mail: None,
            webhooks: WebhooksConfig::default(),
            oidc: None,
            public_url: None,
            seal_key: None,
            trust: Trust::default(),
        }
    }
}

impl Config {
    /// Reads scrip.toml and the catalog it names; without a path, the default.
    ///
    /// The error is one line: file, line, key, problem; or file and problem when a file cannot be read.
    pub fn load(path: Option<&Path>) -> Result<Config, String> {
        let Some(path) = path else { return Ok(Config::default()) };
        let text = read_file(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        parse(&path.display().to_string(), &text, directory, &|name| std::env::var(name).ok())
    }
}

/// Reads and validates a catalog file. The error is one line.
pub fn read_catalog(path: &Path) -> Result<Catalog, String> {
    Catalog::parse(&path.display().to_string(), &read_file(path)?)
}

/// The operator's key, from `SCRIP_OPERATOR_KEY`; an empty one counts as none.
pub fn operator_key() -> Option<Secret> {
    std::env::var("SCRIP_OPERATOR_KEY").ok().filter(|key| !key.is_empty()).map(Secret)
}

/// Looks a variable up; a parameter so that tests need not change the process's own environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

fn parse(file: &str, text: &str, directory: &Path, environment: Environment) -> Result<Config, String> {
    toml_reader::read(file, text, |root| {
        root.only(&[
            "catalog",
            "providers",
            "payments",
            "mail",
            "webhooks",
            "oidc",
            "public_url",
            "seal_key",
            "ca_file",
        ])?;
        let providers = match root.table("providers")? {
            Some(table) => providers::read(&table, environment)?,
            None => ProvidersConfig::default(),
        };
        let mail = match root.table("mail")? {
            Some(table) => {
                table.only(&["url", "from", "timeout_seconds"])?;
                Some(providers::mail(&table, environment)?)
            }
            None => None,
        };
        let catalogs = catalogs(&root, directory)?;
        let tax = catalogs.iter().find_map(|catalog| catalog.tax.clone());
        let payments = root.table("payments")?;
        Ok(Config {
            catalogs,
            providers,
            payments: payments.map(|table| payments::read(&table, tax.as_ref(), environment)).transpose()?,
            mail,
            webhooks: root
                .table("webhooks")?
                .map(|table| webhooks::read(&table))
                .transpose()?
                .unwrap_or_default(),
            oidc: root.table("oidc")?.map(|table| oidc::read(&table, environment)).transpose()?,
            public_url: root
                .text("public_url", 4_000)?
                .map(|url| public_url(&root, "public_url", url))
                .transpose()?,
            seal_key: root
                .text("seal_key", 500)?
                .map(|key| providers::secret(&root, "seal_key", key, environment))
                .transpose()?,
            trust: trust(&root, directory)?,
        })
    })
}

/// One file, or several that hold one after the other.
fn catalogs(root: &Table, directory: &Path) -> Result<Vec<Catalog>, String> {
    let names = match root.texts("catalog") {
        Ok(names) => names.unwrap_or_default(),
        Err(_) => root.text("catalog", 4_000)?.into_iter().collect(),
    };
    if names.is_empty() {
        return Ok(vec![Catalog::builtin()]);
    }
    let read = |name: &&str| {
        let path = directory.join(name);
        let text = read_file(&path).map_err(|problem| root.error("catalog", &problem))?;
        Catalog::parse(&path.display().to_string(), &text)
    };
    let mut catalogs = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    catalogs.sort_by_key(Catalog::since);
    if catalogs.windows(2).any(|pair| pair[0].since() == pair[1].since()) {
        return Err(root.error("catalog", "two files hold since the same moment: give each its own `from`"));
    }
    Ok(catalogs)
}

/// The authorities in the file that `ca_file` names.
fn trust(root: &Table, directory: &Path) -> Result<Trust, String> {
    let Some(name) = root.text("ca_file", 4_000)? else { return Ok(Trust::default()) };
    let wrong = |problem: &str| root.error("ca_file", problem);
    let pem = read_file(&directory.join(name)).map_err(|problem| wrong(&problem))?;
    Trust::parse(&pem).map_err(wrong)
}

/// An `http://` or `https://` address, without its trailing slash.
fn web_address(table: &Table, key: &str, url: &str) -> Result<String, String> {
    let web = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match reqwest::Url::parse(url) {
        Ok(parsed) if web(&parsed) => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(table.error(key, "must be an http:// or https:// address")),
    }
}

/// An address that links in mails can begin with: paths are put behind it, and it stands in headers as it is.
fn public_url(table: &Table, key: &str, url: &str) -> Result<String, String> {
    let url = web_address(table, key, url)?;
    if url.len() > MAX_PUBLIC_URL {
        let problem = format!(
            "has at most {MAX_PUBLIC_URL} bytes, so that unsubscribe links fit into the headers of mails"
        );
        return Err(table.error(key, &problem));
    }
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'?' | b'#' | b'\\');
    if !url.bytes().all(plain) {
        let problem = "must be visible ASCII characters without ?, #, <, > and quotes (a name in other letters as xn--…)";
        return Err(table.error(key, problem));
    }
    Ok(url)
}

fn read_file(path: &Path) -> Result<String, String> {
    let problem = |what: &dyn fmt::Display| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| problem(&error))?;
    let mut text = String::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| problem(&error))?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(problem(&"is larger than 1 MiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests;

/// A directory of this name for what need not last.
pub fn scratch_directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}
