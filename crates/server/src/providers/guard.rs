//! Addresses that customers chose: of a webhook's receiver, of a mail server.
//!
//! What a name resolves to is looked at where the connection is made, so that no name can lead somewhere else between a check and its
//! use. Which networks are open is `[webhooks] allow`, for all of them.
//!
//! Invariant: nothing connects to an address that is neither public nor allowed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::WebhooksConfig;

/// Why nothing connects.
pub(super) const NOT_PUBLIC: &str = "the address is not public";

/// Finds addresses and drops those that nothing may connect to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard(Arc<WebhooksConfig>);

impl Guard {
    /// Lets through what is public, and what is allowed besides.
    pub fn new(config: &WebhooksConfig) -> Guard {
        Guard(Arc::new(config.clone()))
    }

    /// Whether a host may be called as far as can be told without looking it up: only an address says something of itself.
    pub fn may_call(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().map_or(true, |address| self.0.allows(address))
    }

    /// The addresses behind a name that may be connected to: at least one.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        let allowed: Vec<SocketAddr> = found.filter(|address| self.0.allows(address.ip())).collect();
        if allowed.is_empty() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC));
        }
        Ok(allowed)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
