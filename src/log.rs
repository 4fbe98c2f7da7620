//! Logs: to standard error, as text for people or JSON lines for machines.

pub mod repeats;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

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
        sync::{Arc, Mutex, PoisonError},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
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
        let bytes = std::mem::take(&mut *written.0.lock().unwrap_or_else(PoisonError::into_inner));
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
                tracing::info!(target: audit::TARGET, "audited");
            });
            assert_eq!(["first", "second", "audited"].map(|text| lines.matches(text).count()), [1; 3], "{lines}");
            assert_eq!(lines.lines().count(), 3, "{lines}");
        }
    }
}
