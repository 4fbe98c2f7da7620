//! Parsing of settings.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use symbolon_balancer::{Algorithm, UnknownAlgorithm};
use symbolon_partitioner::Strategy;
use symbolon_scaler::PolicyName;

use crate::{
    config::HashBy,
    log::LogFormat,
    throttle::Limit,
    tuner::{KNOBS, Rule},
};

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

pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
