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

/// What is logged: what `filter` lets through, and audit events unless it speaks of them.
fn levels(filter: &str) -> anyhow::Result<EnvFilter> {
    let speaks_of_audit = filter.split(',').any(|directive| directive.trim().starts_with(audit::TARGET));
    let filter = EnvFilter::try_new(filter)?;
    Ok(if speaks_of_audit { filter } else { filter.add_directive(format!("{}=info", audit::TARGET).parse()?) })
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
