//! Logging to standard error, as text or as JSON lines.

pub mod repeats;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
    Json,
}

/// Checks that `filter` is a valid log filter.
///
/// # Errors
/// Returns what is wrong with it.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// The target of audit events.
pub(crate) const AUDIT_TARGET: &str = "audit";

/// Levels of targets that the filter does not mention. `h2` is limited to errors because it warns of every client that violates
/// the protocol.
const DEFAULTS: [(&str, &str); 2] = [(AUDIT_TARGET, "info"), ("h2", "error")];

/// Returns `filter` with the [`DEFAULTS`] added.
fn levels(filter: &str) -> anyhow::Result<EnvFilter> {
    let mentions = |target: &str| filter.split(',').any(|directive| directive.trim().starts_with(target));
    let missing = DEFAULTS.iter().filter(|(target, _)| !mentions(target));
    let filter = EnvFilter::try_new(filter)?;
    missing
        .map(|(target, level)| format!("{target}={level}").parse())
        .try_fold(filter, |filter, directive| Ok(filter.add_directive(directive?)))
}

/// Starts logging with `filter`. Must be called once.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal();
    subscriber(levels(filter)?, format, colours, std::io::stderr).try_init()?;
    Ok(())
}

fn subscriber<W>(levels: EnvFilter, format: LogFormat, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // The filter is global, not one of the layer: if a library asks whether a level is enabled and it is not, a filter of the
    // layer drops the next event of that thread, whatever it is.
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

    /// Returns the log of `events`.
    fn logged(filter: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(levels(filter).expect("a filter"), format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = std::mem::take(&mut *written.0.locked());
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_query_for_a_disabled_level_does_not_drop_later_events() {
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
    fn audit_events_are_logged_and_h2_warnings_are_not_unless_the_filter_mentions_them() {
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
