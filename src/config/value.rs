//! Parsing of settings.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::HeaderName;
use ipnet::IpNet;
use symbolon_balancer::{Algorithm, UnknownAlgorithm};
use symbolon_partitioner::Strategy;
use symbolon_scaler::PolicyName;

use crate::{
    config::HashBy,
    log::LogFormat,
    secret,
    throttle::Limit,
    tuner::{KNOBS, Rule},
};

/// The fewest characters of an operator token.
const MIN_TOKEN_CHARS: usize = 16;

/// A type that a setting can have.
pub trait SettingValue: Sized {
    /// Whether the text must not be shown in messages.
    const SECRET: bool = false;

    /// Parses `text`.
    ///
    /// # Errors
    /// The end of a sentence that says what would be accepted, such as "must be on or off".
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<T: SettingValue> SettingValue for Option<T> {
    const SECRET: bool = T::SECRET;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }
}

impl SettingValue for String {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
    }
}

impl SettingValue for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be an address and port, such as 127.0.0.1:8080".into())
    }
}

impl SettingValue for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        String::from_text(text).map(Self::from)
    }
}

impl SettingValue for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a whole number".into())
    }
}

impl SettingValue for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        /// Longer than any sensible duration, and safe to add to any instant.
        const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
        let duration = humantime::parse_duration(text).map_err(|_| "must be a time, such as 500ms, 30s or 1h")?;
        if duration > MAX { Err("must be at most ten years".into()) } else { Ok(duration) }
    }
}

impl SettingValue for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err("must be on or off".into()),
        }
    }
}

impl SettingValue for Strategy {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: symbolon_partitioner::UnknownStrategy| error.to_string())
    }
}

impl SettingValue for Algorithm {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: UnknownAlgorithm| error.to_string())
    }
}

impl SettingValue for HeaderName {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be the name of a header".into())
    }
}

impl SettingValue for HashBy {
    fn from_text(text: &str) -> Result<Self, String> {
        if text == "user" { Ok(Self::User) } else { HeaderName::from_text(text).map(Self::Header) }
    }
}

/// A path with an optional query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPath(pub String);

impl SettingValue for CheckPath {
    fn from_text(text: &str) -> Result<Self, String> {
        let is_path = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
        is_path.then(|| Self(text.to_owned())).ok_or_else(|| "must be a path such as /health".into())
    }
}

impl SettingValue for Limit {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::throttle::InvalidLimit| error.to_string())
    }
}

impl SettingValue for LogFormat {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json".into()),
        }
    }
}

/// Who may register users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Public,
    Operator,
}

impl SettingValue for Registration {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "public" => Ok(Self::Public),
            "operator" => Ok(Self::Operator),
            _ => Err("must be public or operator".into()),
        }
    }
}

/// Texts separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl SettingValue for List {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(items(text).map(str::to_owned).collect()))
    }
}

/// A number of cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cores(pub f64);

impl SettingValue for Cores {
    fn from_text(text: &str) -> Result<Self, String> {
        let cores = text.parse().ok().filter(|cores: &f64| (0.01..=10_000.0).contains(cores));
        cores.map(Self).ok_or_else(|| "must be a number of cores from 0.01 to 10000".into())
    }
}

impl SettingValue for PolicyName {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: symbolon_scaler::UnknownPolicy| error.to_string())
    }
}

/// Rules that ask for an instance, separated by commas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScalingRules(pub Vec<symbolon_scaler::Rule>);

impl SettingValue for ScalingRules {
    fn from_text(text: &str) -> Result<Self, String> {
        let rules =
            items(text).map(|item| item.parse().map_err(|error: symbolon_scaler::InvalidRule| error.to_string()));
        rules.collect::<Result<_, _>>().map(Self)
    }
}

/// Rules of the tuner, separated by commas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TunerRules(pub Vec<Rule>);

impl SettingValue for TunerRules {
    fn from_text(text: &str) -> Result<Self, String> {
        let mut rules: Vec<Rule> = Vec::new();
        for item in items(text) {
            let rule: Rule = item.parse().map_err(|error: crate::tuner::InvalidRule| error.to_string())?;
            if let Some(knob) = rule.knobs.iter().find(|knob| !KNOBS.contains(&knob.as_str())) {
                return Err(format!("{knob:?} is not a knob; knobs are {}", KNOBS.join(", ")));
            }
            if rules.iter().chain(&crate::tuner::default_rules()).any(|other| other.name == rule.name) {
                return Err(format!("names {:?} twice", rule.name));
            }
            rules.push(rule);
        }
        Ok(Self(rules))
    }
}

/// `key=value` pairs separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub BTreeMap<String, String>);

impl SettingValue for Pairs {
    fn from_text(text: &str) -> Result<Self, String> {
        let mut pairs = BTreeMap::new();
        for item in items(text) {
            let (key, value) =
                item.rsplit_once('=').ok_or_else(|| format!("must be key=value pairs, and {item:?} has no ="))?;
            if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(format!("names {key:?} twice"));
            }
        }
        Ok(Self(pairs))
    }
}

/// IP networks separated by commas; a bare address is a network of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Returns whether one of the networks has this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Networks {
    /// Adds the loopback addresses.
    pub fn trust_this_machine(&mut self) {
        self.0.extend([IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST)), IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))]);
    }
}

impl SettingValue for Networks {
    fn from_text(text: &str) -> Result<Self, String> {
        let parse = |item: &str| {
            let network = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("{item:?} is no address or network, such as 10.0.0.0/8"))
        };
        items(text).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The origin of the pages that may use cookies, as browsers write it (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOrigin(String);

impl PublicOrigin {
    /// Whether a browser's `Origin` is this one.
    pub fn is(&self, origin: &[u8]) -> bool {
        origin == self.0.as_bytes()
    }
}

impl SettingValue for PublicOrigin {
    fn from_text(text: &str) -> Result<Self, String> {
        let refusal =
            "must be an origin that browsers trust, such as https://login.example.com (http only for localhost)";
        let uri: http::Uri = text.parse().map_err(|_| refusal)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(refusal.into()) };
        let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&authority.host());
        let is_bare =
            uri.path() == "/" && uri.query().is_none() && !text.ends_with('/') && !authority.as_str().contains('@');
        if !is_bare || !(scheme == "https" || scheme == "http" && is_local) {
            return Err(refusal.into());
        }
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.as_str().to_ascii_lowercase();
        Ok(Self(format!("{scheme}://{}", host.strip_suffix(default_port).unwrap_or(&host))))
    }
}

/// Operator tokens, kept as digests so that printed settings do not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OperatorTokens(Vec<[u8; 32]>);

impl OperatorTokens {
    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `token` is one of them, in time that depends only on their number.
    pub fn accept(&self, token: &str) -> bool {
        let digest = secret::digest(token.as_bytes());
        self.0.iter().fold(false, |found, known| found | secret::constant_time_eq(known, &digest))
    }
}

impl fmt::Debug for OperatorTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorTokens({})", self.0.len())
    }
}

impl SettingValue for OperatorTokens {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        if items(text).any(|token| token.chars().count() < MIN_TOKEN_CHARS) {
            return Err(format!("every token must have at least {MIN_TOKEN_CHARS} characters"));
        }
        Ok(Self(items(text).map(|token| secret::digest(token.as_bytes())).collect()))
    }
}

pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_that_browsers_keep_secrets_for() {
        let origin = |text: &str| PublicOrigin::from_text(text).map(|origin| origin.0);
        assert_eq!(origin("https://Login.Example.com:443").as_deref(), Ok("https://login.example.com"));
        assert_eq!(origin("https://a.example:8443").as_deref(), Ok("https://a.example:8443"));
        assert_eq!(origin("http://localhost:8080").as_deref(), Ok("http://localhost:8080"));
        for wrong in
            ["http://a.example", "a.example", "https://a.example/", "https://a.example/x", "https://u@a.example", "*"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_and_addresses_are_taken() {
        let networks = Networks::from_text("10.0.0.0/8, 2001:db8::1").expect("networks");
        let contain = |text: &str| networks.contain(text.parse().expect("an address"));
        assert!(contain("10.9.8.7") && contain("2001:db8::1") && !contain("11.0.0.1") && !contain("2001:db8::2"));
        assert!(Networks::from_text("10.0.0.0/33").is_err() && Networks::from_text("proxy").is_err());
    }
}
