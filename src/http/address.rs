//! The address that a request came from. A proxy says in `X-Forwarded-For` whom it speaks for; only trusted proxies are
//! believed, and each only about whom it spoke with.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::config::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the last one, seen from here, that is no trusted proxy's.
pub fn of_client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut address = peer.to_canonical();
    let values: Vec<&str> =
        headers.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    let mut hops = values.iter().flat_map(|value| value.split(',')).rev();
    while trusted.contain(address) {
        // What can't be read was said by the proxy at `address`, the last one that is known.
        let Some(hop) = hops.next().and_then(parse) else { break };
        address = hop;
    }
    address
}

/// An address as proxies write it, some with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SettingValue;

    fn client(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().expect("a header"));
        }
        let trusted = Networks::from_text(trusted).expect("networks");
        of_client(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], ""), "198.51.100.1");
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], "10.0.0.0/8"), "198.51.100.1");
    }

    #[test]
    fn the_last_address_before_the_trusted_ones_is_the_clients() {
        let trusted = "10.0.0.0/8, fd00::/8, 192.0.2.7";
        assert_eq!(client("10.0.0.1", &["203.0.113.9"], trusted), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.3.4"], trusted), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["1.1.1.1", "203.0.113.9", "192.0.2.7"], trusted), "203.0.113.9");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:4711"], trusted), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:80"], trusted), "203.0.113.9");
    }

    #[test]
    fn a_chain_of_nothing_but_proxies_ends_at_the_farthest() {
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.0/8"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[], "10.0.0.0/8"), "10.0.0.1");
    }

    #[test]
    fn what_can_not_be_read_ends_the_chain() {
        for odd in ["unknown, 10.0.0.2", "1.1.1.1, , 10.0.0.2", "_hidden, 10.0.0.2"] {
            assert_eq!(client("10.0.0.1", &[odd], "10.0.0.0/8"), "10.0.0.2", "{odd}");
        }
    }
}
