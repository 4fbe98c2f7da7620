//! How far a long command has come, on standard error; nothing where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over the bytes of a file, or a count where their number is not known.
pub(super) fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{elapsed_precise} [{bar:32}] {percent:>3} %  {bytes} of {total_bytes}  {msg}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {msg}"),
    };
    // The templates are constants; a wrong one would show the default bar.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// So many a second.
pub(super) fn rate(count: u64, bar: &ProgressBar) -> f64 {
    count as f64 / bar.elapsed().as_secs_f64().max(0.001)
}
