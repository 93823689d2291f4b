//! Whoever takes our webhooks: one POST to an address that a customer gave us.
//!
//! Where it may be is `guard`'s. It does not know what is told, and never keeps what was answered but its status.
//!
//! Invariant: nothing is sent to an address that is neither public nor allowed, and no redirect is followed.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};

use super::guard::{Guard, NOT_PUBLIC};
use super::install_crypto;

/// How long a receiver may take, from connecting to its status.
const PATIENCE: Duration = Duration::from_secs(15);

/// The way to all receivers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receivers {
    plain: Client,
    encrypted: Client,
    guard: Guard,
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A status.
    Status(u16),
    /// None; one line on why.
    Nothing(String),
}

impl Receivers {
    /// Builds the clients; connects to nothing. The error is one line.
    pub fn new(guard: Guard) -> Result<Receivers, String> {
        install_crypto();
        let careful = || {
            let builder = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
            // A proxy would connect in our place, to wherever it likes.
            builder.no_proxy().dns_resolver(Arc::new(guard.clone()))
        };
        let problem = |error: reqwest::Error| format!("webhooks: {error}");
        // Without TLS there is no need for the machine's certificates, which a bare container lacks.
        let plain = careful().tls_certs_only([]).build().map_err(problem)?;
        let encrypted = careful().build().unwrap_or_else(|_| plain.clone());
        Ok(Receivers { plain, encrypted, guard })
    }

    /// An address that events may be sent to, as far as can be told without looking it up; or what is wrong with it.
    pub fn check(&self, url: &str) -> Result<Url, &'static str> {
        if url.chars().count() > 2_000 {
            return Err("has at most 2000 characters");
        }
        let url = Url::parse(url).map_err(|_| "must be an http:// or https:// address")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must be an http:// or https:// address");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password");
        }
        // A number in any spelling is an address by now. Those are not looked up, so the guard does not see them.
        if self.guard.may_call(url.host_str().unwrap_or_default()) {
            Ok(url)
        } else {
            Err("must be a public address, unless [webhooks] in scrip.toml allows its network")
        }
    }

    /// Posts a body once.
    pub async fn post(&self, url: &str, headers: [(&'static str, String); 3], body: String) -> Answered {
        let url = match self.check(url) {
            Ok(url) => url,
            Err(why) => return Answered::Nothing(format!("not sent: {why}")),
        };
        let client = if url.scheme() == "https" { &self.encrypted } else { &self.plain };
        let mut request =
            client.post(url).header("content-type", "application/json").header("user-agent", "Scrip");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        match request.body(body).send().await {
            Ok(response) => Answered::Status(response.status().as_u16()),
            Err(error) => Answered::Nothing(reason(&error)),
        }
    }
}

/// Why there is no answer. The error itself may hold the address with its secrets.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string() == NOT_PUBLIC {
            return format!("not sent: {NOT_PUBLIC}");
        }
        cause = error.source();
    }
    let words = match () {
        () if error.is_timeout() => "no answer within 15 seconds",
        () if error.is_connect() => "cannot be reached",
        () => "the connection was closed without an answer",
    };
    words.to_owned()
}
