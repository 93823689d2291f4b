//! The clients of what campaigns call: discovery, enrichment, LinkedIn, message writing and e-mail; and the mailboxes
//! that answers to e-mail come into.
//!
//! They know no account and no table: a request goes in, an `Outcome` comes out, and what the outcome means for
//! credits is decided elsewhere.
//!
//! Invariant: an outcome never claims more certainty than the wire gave. Whatever may have taken effect without
//! an answer is `Unknown`.

use crate::config::{Costs, ProvidersConfig, Trust};

mod enrichment;
mod guard;
mod http;
mod imap;
mod letter;
mod openai;
mod post;
mod reach;
mod receiver;
mod smtp;

pub use enrichment::{Enrichment, EnrichmentProvider, Found};
pub use guard::Guard;
pub use http::{Accepted, Contact, Field, HttpProvider, LinkedinAction, SearchPage, Status};
pub use imap::{Imap, Looked, Mark};
pub use letter::Letter;
pub use openai::MessageWriter;
pub(crate) use post::{Body, careful, read_bounded};
pub use reach::Reach;
pub use receiver::{Answered, Receivers};
pub(crate) use smtp::MAX_HEADER;
pub use smtp::{Email, Smtp};

/// What came of one call, and with it what happens to the hold behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The provider answered.
    Done(T),
    /// This item failed for good, free of charge: there is no use in trying it again.
    ItemFailed {
        /// One line for the screen.
        reason: String,
    },
    /// The provider does not serve us as configured: nothing happened, and nothing will until a person looks.
    Unavailable {
        /// One line for the screen.
        reason: String,
    },
    /// Nothing happened; the same may succeed later, under a new hold.
    TryLater {
        /// One line for the screen.
        reason: String,
        /// How long the provider asks to be left alone, in seconds; 0: it does not say.
        after_seconds: i64,
    },
    /// It may or may not have happened.
    Unknown {
        /// One line for the screen.
        reason: String,
    },
}

impl<T> Outcome<T> {
    /// Nothing happened, and nobody said when to ask again.
    pub(crate) fn later(reason: impl Into<String>) -> Outcome<T> {
        Outcome::TryLater { reason: reason.into(), after_seconds: 0 }
    }

    /// The same outcome with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Done(value) => Outcome::Done(change(value)),
            Outcome::ItemFailed { reason } => Outcome::ItemFailed { reason },
            Outcome::Unavailable { reason } => Outcome::Unavailable { reason },
            Outcome::TryLater { reason, after_seconds } => Outcome::TryLater { reason, after_seconds },
            Outcome::Unknown { reason } => Outcome::Unknown { reason },
        }
    }
}

/// What can be done about a call whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Call again under the same key: it has no second effect.
    Repeat,
    /// Ask what became of the key.
    Query,
    /// Nothing: only a person or the deadline can end the doubt.
    Neither,
}

/// Every configured provider.
#[derive(Debug, Default)]
pub struct Providers {
    /// Finds leads.
    pub discovery: Option<HttpProvider>,
    /// Fill in contacts and fields; empty when none is configured.
    pub enrichment: Enrichment,
    /// Sends invitations and messages.
    pub linkedin: Option<HttpProvider>,
    /// Writes messages.
    pub messages: Option<MessageWriter>,
    /// Sends e-mail for senders without a server of their own.
    pub email: Option<Smtp>,
    /// What each of them costs, but for enrichment, where each has its own.
    pub costs: Costs,
    /// The currency of costs; `None`: the price list's.
    pub currency: Option<String>,
}

impl Providers {
    /// Builds the clients; connects to nothing. The error is one line.
    pub fn new(config: &ProvidersConfig, trust: &Trust) -> Result<Providers, String> {
        let reach = Reach::ours(trust);
        let http = |name: &str, config: &Option<crate::config::HttpConfig>| {
            config.as_ref().map(|config| HttpProvider::new(name, config)).transpose()
        };
        Ok(Providers {
            discovery: http("discovery", &config.discovery)?,
            enrichment: Enrichment::new(&config.enrichment)?,
            linkedin: http("linkedin", &config.linkedin)?,
            messages: config.messages.as_ref().map(MessageWriter::new).transpose()?,
            email: config.email.as_ref().map(|config| Smtp::new(config, &reach)).transpose()?,
            costs: config.costs,
            currency: config.currency.clone(),
        })
    }
}

/// Makes ring the process's cryptography. Safe to call any number of times.
pub fn install_crypto() {
    // An error only says that a provider is already installed, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Provider text as one short line that is fit for a screen and a log.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
