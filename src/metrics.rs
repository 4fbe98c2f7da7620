//! Metrics of instances and gateways as OpenMetrics text.
//!
//! Names follow Prometheus' conventions: base units (seconds, bytes, ratios from 0 to 1), counters end in `_total`, and the
//! prefix is `symbolon_`.

mod requests;
mod sample;

use prometheus_client::{encoding::text, registry::Registry};

pub use requests::{Observed, RequestMetrics};
pub use sample::{Sample, encode};

/// The content type of OpenMetrics text.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds of duration buckets, in seconds.
pub const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Returns all metrics of `registry` as OpenMetrics text.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = text::encode(&mut text, registry);
    text
}
