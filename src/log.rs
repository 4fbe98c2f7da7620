//! Logs: to standard error, as text for people or JSON lines for machines.

pub mod repeats;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::audit;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether `filter` is one.
///
/// # Errors
/// What is wrong with it.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// What is logged unless the filter speaks of it: audit events, and of `h2` only errors, as it warns of each connection that
/// breaks its rules.
const DEFAULTS: [(&str, &str); 2] = [(audit::TARGET, "info"), ("h2", "error")];

/// What is logged: what `filter` lets through, and the defaults.
fn levels(filter: &str) -> anyhow::Result<EnvFilter> {
    let speaks_of = |target: &str| filter.split(',').any(|directive| directive.trim().starts_with(target));
    let missing = DEFAULTS.iter().filter(|(target, _)| !speaks_of(target));
    let filter = EnvFilter::try_new(filter)?;
    missing
        .map(|(target, level)| format!("{target}={level}").parse())
        .try_fold(filter, |filter, directive| Ok(filter.add_directive(directive?)))
}

/// Starts logging what `filter` lets through. Call once.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_filter(levels(filter)?).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(levels(filter)?).boxed(),
    };
    tracing_subscriber::registry().with(lines).try_init()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_events_are_logged_and_what_clients_do_to_h2_is_not_unless_the_filter_speaks_of_it() {
        let levels = |filter| levels(filter).expect("a filter").to_string();
        let default = levels("info,sqlx=warn");
        assert!(default.contains("audit=info") && default.contains("h2=error"), "{default}");
        let chosen = levels("warn,h2=debug,audit=off");
        assert!(
            chosen.contains("h2=debug") && !chosen.contains("h2=error") && !chosen.contains("audit=info"),
            "{chosen}"
        );
    }
}
