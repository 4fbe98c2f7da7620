//! Progress of a long command, on standard error. It is hidden if standard error is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a bar over the bytes of a file, or a spinner if the number of bytes is unknown.
pub(super) fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{elapsed_precise} [{bar:32}] {percent:>3} %  {bytes} of {total_bytes}  {msg}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {msg}"),
    };
    // The templates are constant and valid.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Returns the number per second since the bar was made.
pub(super) fn rate(count: u64, bar: &ProgressBar) -> f64 {
    count as f64 / bar.elapsed().as_secs_f64().max(0.001)
}
