//! The client address of a request.
//!
//! Proxies append the address of their client to `X-Forwarded-For`. Elements are used only if a trusted proxy wrote them.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use super::problem::{Problem, ProblemKind};
use crate::config::Networks;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Written by a proxy that does not know or disclose the address of its client (RFC 7239, section 6).
const UNKNOWN: &[u8] = b"unknown";

/// A trusted proxy wrote something other than an address, so the client can't be identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trusted proxy's element of X-Forwarded-For is not an address")]
pub struct MalformedForwardedFor;

impl From<MalformedForwardedFor> for Problem {
    fn from(_: MalformedForwardedFor) -> Self {
        let detail = "must end with the address of the client of the nearest proxy";
        Self::field(ProblemKind::Malformed, "X-Forwarded-For", detail)
    }
}

/// Returns the client's address: going backwards from the peer, the first address that is not a trusted proxy's.
///
/// Elements before that address may be forged, and are not parsed.
///
/// # Errors
/// [`MalformedForwardedFor`] if an element written by a trusted proxy is neither an address nor `unknown`.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Result<IpAddr, MalformedForwardedFor> {
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
            Some(element) => address = parse(element).ok_or(MalformedForwardedFor)?,
        }
    }
    Ok(address)
}

/// Parses an address, with or without a port.
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

    fn of_bytes(peer: &str, forwarded: &[&[u8]], trusted: &str) -> Result<String, MalformedForwardedFor> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("a header"));
        }
        let trusted = Networks::from_text(trusted).expect("networks");
        client_address(peer.parse().expect("an address"), &headers, &trusted).map(|address| address.to_string())
    }

    fn client(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        of_bytes(peer, &forwarded, trusted).expect("readable")
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], ""), "198.51.100.1");
        assert_eq!(client("198.51.100.1", &["203.0.113.9"], "10.0.0.0/8"), "198.51.100.1");
    }

    #[test]
    fn the_last_untrusted_address_is_the_client() {
        let trusted = "10.0.0.0/8, fd00::/8, 192.0.2.7";
        assert_eq!(client("10.0.0.1", &["203.0.113.9"], trusted), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.2.3.4"], trusted), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["1.1.1.1", "203.0.113.9", "192.0.2.7"], trusted), "203.0.113.9");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:4711"], trusted), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:80"], trusted), "203.0.113.9");
    }

    #[test]
    fn without_untrusted_address_the_farthest_proxy_is_the_client() {
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.0/8"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[], "10.0.0.0/8"), "10.0.0.1");
    }

    #[test]
    fn forged_elements_do_not_hide_the_client() {
        for forged in [&b"\xff, 203.0.113.9"[..], b"\xff\xfe,203.0.113.9", b", , 203.0.113.9, 10.0.0.2"] {
            assert_eq!(of_bytes("10.0.0.1", &[forged], "10.0.0.0/8").as_deref(), Ok("203.0.113.9"));
        }
        assert_eq!(of_bytes("10.0.0.1", &[b"\xff", b"203.0.113.9"], "10.0.0.0/8").as_deref(), Ok("203.0.113.9"));
        assert_eq!(of_bytes("198.51.100.1", &[b"\xff"], "10.0.0.0/8").as_deref(), Ok("198.51.100.1"));
    }

    #[test]
    fn elements_of_trusted_proxies_must_be_addresses() {
        for unreadable in [&b"\xff"[..], b"203.0.113.9, \xff", b"", b"203.0.113.9,", b"_hidden", b"\xff, 10.0.0.2"] {
            assert_eq!(of_bytes("10.0.0.1", &[unreadable], "10.0.0.0/8"), Err(MalformedForwardedFor), "{unreadable:?}");
        }
    }

    #[test]
    fn a_proxy_with_unknown_client_is_the_client() {
        assert_eq!(client("10.0.0.1", &["unknown"], "10.0.0.0/8"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.0/8"), "10.0.0.2");
    }
}
