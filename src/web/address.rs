//! The address that a request came from. A proxy says in `X-Forwarded-For` whom it speaks for; only trusted proxies are
//! believed, and each only about whom it spoke with.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use super::problem::{Problem, ProblemKind};
use crate::config::Networks;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a trusted proxy says in the place of an address that it does not know or tell (RFC 7239, section 6).
const UNKNOWN: &[u8] = b"unknown";

/// What a trusted proxy has written about its client is no address: the client can't be told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trusted proxy's element of X-Forwarded-For is not an address")]
pub struct Unreadable;

impl From<Unreadable> for Problem {
    fn from(_: Unreadable) -> Self {
        let detail = "must end in the address that the nearest proxy had the request from";
        Self::field(ProblemKind::Malformed, "X-Forwarded-For", detail)
    }
}

/// The client's address: the last one, seen from here, that is no trusted proxy's.
///
/// # Errors
/// [`Unreadable`] if a trusted proxy's own element is neither an address nor `unknown`. What is before the client's address
/// anyone may have written, and it is not read.
pub fn of_client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Result<IpAddr, Unreadable> {
    let mut address = peer.to_canonical();
    if !trusted.contain(address) {
        return Ok(address);
    }
    let mut elements = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii);
    while trusted.contain(address) {
        match elements.next() {
            None | Some(UNKNOWN) => break,
            Some(element) => address = parse(element).ok_or(Unreadable)?,
        }
    }
    Ok(address)
}

/// An address as proxies write it, some with a port.
fn parse(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::SettingValue;

    fn of_bytes(peer: &str, forwarded: &[&[u8]], trusted: &str) -> Result<String, Unreadable> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("a header"));
        }
        let trusted = Networks::from_text(trusted).expect("networks");
        of_client(peer.parse().expect("an address"), &headers, &trusted).map(|address| address.to_string())
    }

    fn client(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        of_bytes(peer, &forwarded, trusted).expect("readable")
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
    fn what_a_stranger_wrote_does_not_hide_its_address() {
        for forged in [&b"\xff, 203.0.113.9"[..], b"\xff\xfe,203.0.113.9", b", , 203.0.113.9, 10.0.0.2"] {
            assert_eq!(of_bytes("10.0.0.1", &[forged], "10.0.0.0/8").as_deref(), Ok("203.0.113.9"));
        }
        assert_eq!(of_bytes("10.0.0.1", &[b"\xff", b"203.0.113.9"], "10.0.0.0/8").as_deref(), Ok("203.0.113.9"));
        assert_eq!(of_bytes("198.51.100.1", &[b"\xff"], "10.0.0.0/8").as_deref(), Ok("198.51.100.1"));
    }

    #[test]
    fn an_element_of_a_trusted_proxy_must_be_an_address() {
        for unreadable in [&b"\xff"[..], b"203.0.113.9, \xff", b"", b"203.0.113.9,", b"_hidden", b"\xff, 10.0.0.2"] {
            assert_eq!(of_bytes("10.0.0.1", &[unreadable], "10.0.0.0/8"), Err(Unreadable), "{unreadable:?}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_know_its_client_stands_for_it() {
        assert_eq!(client("10.0.0.1", &["unknown"], "10.0.0.0/8"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.0/8"), "10.0.0.2");
    }
}
