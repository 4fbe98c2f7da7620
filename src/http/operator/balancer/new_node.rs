//! Validation of a node to add. The schema states the same rules, except that it accepts malformed IPv6 addresses.

use serde::Deserialize;
use symbolon_partitioner::MAX_WEIGHT;

use crate::{json::whole, model::Violation, shared_store::NodeRecord};

/// Maximum length of an id, region or zone.
const MAX_NAME_CHARS: usize = 128;

/// A node to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// Id of the node: letters, digits, dots, underscores and hyphens.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", example = "spare-1")]
    id: String,
    /// Base URL of the node: `http://`, a host, and a port unless it is 80.
    #[schema(
        pattern = "^http://([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\\[[0-9A-Fa-f:.]{2,45}\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$",
        example = "http://10.0.0.7:8080"
    )]
    url: String,
    /// Share of the traffic, relative to the other nodes.
    #[serde(default = "default_weight", deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, default = 1, example = 1)]
    weight: u32,
    /// Maximum number of requests in flight.
    #[serde(default = "default_max_connections", deserialize_with = "whole")]
    #[schema(format = Int64, minimum = 1, maximum = 4_294_967_295_i64, default = 1000, example = 1000)]
    max_connections: u32,
    /// Region of the node.
    #[serde(default = "default_location")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", default = "default", example = "default")]
    region: String,
    /// Zone of the node.
    #[serde(default = "default_location")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", default = "default", example = "default")]
    zone: String,
}

// The same defaults as in the settings of an instance.
fn default_weight() -> u32 {
    1
}

fn default_max_connections() -> u32 {
    1000
}

fn default_location() -> String {
    "default".to_owned()
}

impl NewNode {
    /// Validates the node.
    ///
    /// # Errors
    /// All violated rules.
    pub(super) fn check(self) -> Result<NodeRecord, Vec<Violation>> {
        let Self { id, url, weight, max_connections, region, zone } = self;
        let mut violations = Vec::new();
        let mut rule = |field: &str, is_met: bool, detail: &str| {
            if !is_met {
                violations.push(Violation::new(field, detail));
            }
        };
        let has_length = |text: &str| (1..=MAX_NAME_CHARS).contains(&text.len());
        let is_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = |text: &str| has_length(text) && text.chars().all(|c| c.is_ascii_graphic());
        rule(
            "id",
            has_length(&id) && id.chars().all(is_id),
            "must have 1 to 128 characters: letters, digits, dots, underscores and hyphens",
        );
        rule("url", is_base_url(&url), "must be http://, a host and an optional port, such as http://10.0.0.7:8080");
        rule("weight", (1..=MAX_WEIGHT).contains(&weight), "must be from 1 to 1000");
        rule("max_connections", max_connections >= 1, "must be at least 1");
        rule("region", is_name(&region), "must have 1 to 128 visible ASCII characters");
        rule("zone", is_name(&zone), "must have 1 to 128 visible ASCII characters");
        if violations.is_empty() {
            Ok(NodeRecord { id, url, weight, max_connections, region, zone })
        } else {
            Err(violations)
        }
    }
}

/// Returns whether a URL is `http://host` or `http://host:port`, without path, query or user information.
fn is_base_url(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://") else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok()
    };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        }
    };
    is_host && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_host_and_an_optional_port() {
        for good in ["http://a", "http://a.b-c:1", "http://10.0.0.7:65535", "http://[::1]", "http://[2001:db8::1]:80"] {
            assert!(is_base_url(good), "{good}");
        }
        for bad in [
            "",
            "a:80",
            "https://a",
            "HTTP://a",
            "http://",
            "http://:80",
            "http://a:",
            "http://a:0",
            "http://a:080",
            "http://a:+1",
            "http://a:65536",
            "http://a/",
            "http://a?b",
            "http://a#b",
            "http://u@a",
            "http://u:p@a:80",
            "http://-a",
            "http://a b",
            "http://ä",
            "http://[::1",
            "http://::1",
            "http://[a]",
            "http://[::1]x",
        ] {
            assert!(!is_base_url(bad), "{bad}");
        }
    }
}
