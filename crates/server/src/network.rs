//! Where a request comes from, as far as that can be said.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

use crate::config::is_public;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The network that a request comes from; `None` when that is not known. A peer that is not of the open internet is taken for
/// a proxy of ours, which says at the end of `X-Forwarded-For` whom it heard; what others say there counts for nothing. Of an IPv6
/// address the first half counts: the rest is everybody's own choice.
pub fn origin(peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
    let address = match peer {
        Some(Peer(address)) if is_public(address.to_canonical()) => Some(address),
        _ => {
            let said = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            said.rsplit(',').next()?.trim().parse().ok()
        }
    };
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_believed_and_nobody_else() {
        let told = |peer: Option<&str>, said: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let peer = peer.map(|peer| Peer(peer.parse().unwrap()));
            origin(peer, &headers).map(|address| address.to_string())
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(told(Some("8.8.8.8"), &["1.1.1.1"]), is("8.8.8.8"));
        assert_eq!(
            told(Some("10.0.0.1"), &["1.1.1.1, 9.9.9.9"]),
            is("9.9.9.9"),
            "the last one is the proxy's"
        );
        assert_eq!(told(Some("127.0.0.1"), &["1.1.1.1", "9.9.9.9"]), is("9.9.9.9"));
        assert_eq!(told(Some("::ffff:127.0.0.1"), &["9.9.9.9"]), is("9.9.9.9"));
        assert_eq!(told(None, &["2a00:1:2:3:4:5:6:7"]), is("2a00:1:2:3::"));
        for unknown in [&[][..], &["nonsense"], &["1.1.1.1, unknown"]] {
            assert_eq!(told(Some("127.0.0.1"), unknown), None, "{unknown:?}");
        }
    }
}
