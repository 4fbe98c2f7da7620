//! Logs: to standard error, as text for people or JSON lines for machines.

pub mod repeats;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

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

/// The target of audit events. They are logged at `info` unless the filter speaks of it.
pub(crate) const AUDIT_TARGET: &str = "audit";

/// What is logged unless the filter speaks of it: audit events, and of `h2` only errors, as it warns of each connection that
/// breaks its rules.
const DEFAULTS: [(&str, &str); 2] = [(AUDIT_TARGET, "info"), ("h2", "error")];

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
    subscriber(levels(filter)?, format, colours, std::io::stderr).try_init()?;
    Ok(())
}

/// Writes to `writer` what `levels` let through.
fn subscriber<W>(levels: EnvFilter, format: LogFormat, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Not a filter of that layer alone: libraries ask whether they would be heard before they say something, and if they would
    // not, such a filter drops the next line of that thread, whatever it is.
    tracing_subscriber::registry().with(lines).with(levels)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::sync::MutexExt;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.locked().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of `events`.
    fn logged(filter: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(levels(filter).expect("a filter"), format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = std::mem::take(&mut *written.0.locked());
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_library_that_asks_whether_it_would_be_heard_silences_nobody() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = logged("warn", format, || {
                assert!(!tracing::enabled!(target: "library", tracing::Level::INFO));
                tracing::warn!("first");
                tracing::warn!("second");
                tracing::info!("below");
                tracing::info!(target: AUDIT_TARGET, "audited");
            });
            assert_eq!(["first", "second", "audited"].map(|text| lines.matches(text).count()), [1; 3], "{lines}");
            assert_eq!(lines.lines().count(), 3, "{lines}");
        }
    }

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
