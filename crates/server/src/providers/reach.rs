//! How mail servers are reached: to which addresses, and with which certificates.
//!
//! It opens no connection and knows no protocol.
//!
//! Invariant: the address of a server that a customer named is looked at where the connection is made, so that no name can lead
//! somewhere else between a check and its use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lettre::transport::smtp::client::{Certificate, TlsParameters};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Trust, WebhooksConfig};

/// Nobody but a person can change that.
pub(super) const NOT_PUBLIC: &str =
    "must be a public address, unless [webhooks] in scrip.toml allows its network";

/// Whose servers these are, and whom their certificates are trusted from.
#[derive(Clone, Debug)]
pub struct Reach {
    trust: Trust,
    /// Where servers that customers name may be; `None`: the operator named it, so anywhere.
    allow: Option<Arc<WebhooksConfig>>,
}

/// Whether and when a conversation is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// From the first byte (`smtps://`, `imaps://`).
    Always,
    /// STARTTLS, or nothing is sent (`?tls=required`).
    Required,
    /// STARTTLS where the server offers it; a password is never sent without it. What `smtp://` and `imap://` mean.
    WhenOffered,
    /// None (`?tls=off`, and the default on this machine's own addresses).
    Off,
}

impl Reach {
    /// To servers in scrip.toml.
    pub fn ours(trust: &Trust) -> Reach {
        Reach { trust: trust.clone(), allow: None }
    }

    /// To servers that customers name.
    pub fn theirs(trust: &Trust, allow: &WebhooksConfig) -> Reach {
        Reach { trust: trust.clone(), allow: Some(Arc::new(allow.clone())) }
    }

    /// What is wrong with a host as far as can be told without looking it up.
    pub(super) fn check(&self, host: &str) -> Result<(), &'static str> {
        match host.parse() {
            Ok(address) if !self.allows(address) => Err(NOT_PUBLIC),
            _ => Ok(()),
        }
    }

    /// The addresses of a server; the error is one line.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, &'static str> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|_| "cannot be found")?;
        let allowed: Vec<_> = found.filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() { Err(NOT_PUBLIC) } else { Ok(allowed) }
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.allows(address))
    }

    /// What an SMTP server's certificate is checked with.
    pub(super) fn smtp_tls(&self, host: &str) -> Result<TlsParameters, lettre::transport::smtp::Error> {
        let mut parameters = TlsParameters::builder(host.to_owned());
        for certificate in self.trust.certificates() {
            parameters = parameters.add_root_certificate(Certificate::from_der(certificate.to_vec())?);
        }
        parameters.build()
    }

    /// What any other server's certificate is checked with: the same.
    pub(super) fn tls(&self) -> Result<ClientConfig, &'static str> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in self.trust.certificates() {
            roots.add(certificate.clone()).map_err(|_| "ca_file holds a certificate that cannot be used")?;
        }
        Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }
}

impl Encryption {
    /// What an address asks for. `plain` is its scheme without encryption from the first byte, such as `smtp`.
    pub(super) fn of(url: &reqwest::Url, plain: &str, host: &str) -> Option<Encryption> {
        let asked = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
        let own = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let scheme = url.scheme();
        match (scheme.strip_prefix(plain)?, asked.as_deref()) {
            ("s", None) => Some(Encryption::Always),
            ("", Some("required")) => Some(Encryption::Required),
            ("", Some("off")) => Some(Encryption::Off),
            // Nothing leaves the machine, and a local relay's certificate is rarely one that can be checked.
            ("", None) if own => Some(Encryption::Off),
            ("", None) => Some(Encryption::WhenOffered),
            _ => None,
        }
    }
}
