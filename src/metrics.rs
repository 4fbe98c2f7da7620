//! Metrics in Prometheus' names and OpenMetrics text, for instances and gateways: base units (seconds, bytes, ratios from 0
//! to 1), counters that end in `_total`, and everything begins with `symbolon_`.

mod requests;
mod sample;

use prometheus_client::{encoding::text, registry::Registry};

pub use requests::{Observed, RequestMetrics};
pub use sample::{Sample, encode};

/// The content type of the text.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper ends of the buckets of durations, in seconds.
pub const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// All that is registered, as text.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut text, registry);
    text
}
