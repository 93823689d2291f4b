//! How mail servers are reached: to which addresses, and with which certificates.
//!
//! It opens no connection and knows no protocol.
//!
//! Invariant: a server that a customer named is at an address that the guard lets through.

use std::io;
use std::net::{IpAddr, SocketAddr};

use lettre::transport::smtp::client::{Certificate, TlsParameters};
use rustls::{ClientConfig, RootCertStore};

use super::Guard;
use crate::config::Trust;

const NOT_PUBLIC: &str = "must be a public address, unless [webhooks] in scrip.toml allows its network";

/// Whose servers these are, and whom their certificates are trusted from.
#[derive(Clone, Debug)]
pub struct Reach {
    trust: Trust,
    /// Where they may be; `None`: the operator named them, so anywhere.
    guard: Option<Guard>,
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
        Reach { trust: trust.clone(), guard: None }
    }

    /// To servers that customers name.
    pub fn theirs(trust: &Trust, guard: Guard) -> Reach {
        Reach { trust: trust.clone(), guard: Some(guard) }
    }

    /// What is wrong with a host as far as can be told without looking it up.
    pub(super) fn check(&self, host: &str) -> Result<(), &'static str> {
        let may = self.guard.as_ref().is_none_or(|guard| guard.may_call(host));
        if may { Ok(()) } else { Err(NOT_PUBLIC) }
    }

    /// What a server's name resolves to, each time anew; only these are connected to. A refusal of the guard is `PermissionDenied`.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.guard {
            Some(guard) => guard.addresses(host, port).await,
            None => tokio::net::lookup_host((host, port)).await.map(Iterator::collect),
        }
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
