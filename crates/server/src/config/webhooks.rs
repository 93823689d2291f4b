//! The `[webhooks]` part of scrip.toml: which networks, besides the public ones, events may be sent into.
//!
//! Owns what a network is and which addresses are public. It opens no connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::toml_reader::Table;

/// What events may be sent into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Networks that are not public and are allowed all the same.
    pub allow: Vec<Network>,
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

pub(super) fn read(table: &Table) -> Result<WebhooksConfig, String> {
    table.only(&["allow"])?;
    let names = table.texts("allow")?.unwrap_or_default();
    let network = |name: &&str| {
        let problem = "must be networks such as \"10.0.0.0/8\" or \"127.0.0.1\"";
        Network::parse(name).ok_or_else(|| table.error("allow", problem))
    };
    Ok(WebhooksConfig { allow: names.iter().map(network).collect::<Result<_, _>>()? })
}

impl WebhooksConfig {
    /// Whether events may be sent to an address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allow.iter().any(|network| network.has(address))
    }
}

impl Network {
    /// `10.0.0.0/8`, `::1/128`, or an address alone.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Network { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let shift = width - self.bits;
            self.bits == 0 || a >> shift == b >> shift
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Whether an address is one of the open internet's: not of this machine, this network, or a purpose of its own.
pub(crate) fn is_public(address: IpAddr) -> bool {
    let within = |networks: &[&str]| {
        networks.iter().filter_map(|name| Network::parse(name)).any(|network| network.has(address))
    };
    match address {
        IpAddr::V4(address) => !(address == Ipv4Addr::BROADCAST || within(NOT_PUBLIC_4)),
        // Everything global is in 2000::/3; what carries an IPv4 address inside is left out, because that may be any.
        IpAddr::V6(address) => {
            let global = Ipv6Addr::from_bits(address.to_bits() & (7 << 125))
                == "2000::".parse::<Ipv6Addr>().unwrap_or(address);
            global && !within(NOT_PUBLIC_6)
        }
    }
}

/// IANA's registry of special addresses: this network, private, shared (carriers), this machine, link-local (also cloud metadata),
/// protocols, documentation, 6to4 relays, benchmarks, multicast, reserved.
const NOT_PUBLIC_4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Teredo and other protocols, documentation, and 6to4.
const NOT_PUBLIC_6: &[&str] = &["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_open_internet_is_public() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.255.255",
            "172.32.0.0",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(WebhooksConfig::default().allows(address(public)), "{public}");
        }
        for other in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "ff02::1",
        ] {
            assert!(!WebhooksConfig::default().allows(address(other)), "{other}");
        }
    }

    #[test]
    fn what_is_allowed_is_no_more_than_was_said() {
        let config = WebhooksConfig {
            allow: ["10.1.0.0/16", "::1", "127.0.0.1"]
                .iter()
                .filter_map(|name| Network::parse(name))
                .collect(),
        };
        for (address, allowed) in [
            ("10.1.255.1", true),
            ("10.2.0.1", false),
            ("::1", true),
            ("::2", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:10.1.0.1", true),
        ] {
            assert_eq!(config.allows(address.parse().unwrap()), allowed, "{address}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "", "/8", "::/129", "example.com", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
