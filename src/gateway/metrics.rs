//! What the gateway counts, in Prometheus' names.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};

use crate::balancer::{Balancer, NodeStats};

/// The upper ends of the buckets of durations, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counters of the gateway.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// By the first digit of the status.
    requests: [Counter; 5],
    durations: Histogram,
    retries: Counter,
    refused_retries: Counter,
}

impl Metrics {
    pub(super) fn new(balancer: Arc<Balancer>) -> Self {
        let mut registry = Registry::with_prefix("symbolon_gateway");
        let requests = Family::<[(&str, String); 1], Counter>::default();
        let by_class =
            std::array::from_fn(|class| requests.get_or_create(&[("status", format!("{}xx", class + 1))]).clone());
        let (durations, retries, refused_retries) = (Histogram::new(SECONDS), Counter::default(), Counter::default());
        registry.register("requests", "Requests passed on, by the first digit of their status", requests);
        registry.register(
            "request_duration_seconds",
            "Time from a request's head to its response's head",
            durations.clone(),
        );
        registry.register("retries", "Requests made again on another node", retries.clone());
        registry.register("retries_refused", "Requests not made again for want of budget", refused_retries.clone());
        registry.register_collector(Box::new(Nodes(balancer)));
        Self { registry, requests: by_class, durations, retries, refused_retries }
    }

    pub(super) fn count(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.requests[class - 1].inc();
        self.durations.observe(took.as_secs_f64());
    }

    pub(super) fn count_retry(&self) {
        self.retries.inc();
    }

    pub(super) fn count_refused_retry(&self) {
        self.refused_retries.inc();
    }

    /// How many requests were passed on, made again, and not made again for want of budget.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        (self.requests.iter().map(Counter::get).sum(), self.retries.get(), self.refused_retries.get())
    }

    /// All of it as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// What the balancer knows of its nodes at the time.
#[derive(Debug)]
struct Nodes(Arc<Balancer>);

impl Collector for Nodes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Reading = fn(&NodeStats) -> f64;
        let gauges: [(&str, &str, Reading); 5] = [
            ("node_in_flight", "Requests on a node", |stats| stats.in_flight as f64),
            ("node_healthy", "Whether health checks find a node well", |stats| f64::from(u8::from(stats.healthy))),
            ("node_draining", "Whether a node is about to leave", |stats| f64::from(u8::from(stats.draining))),
            ("node_requests", "Requests that a node has ended", |stats| stats.requests as f64),
            ("node_errors", "Requests that a node has failed", |stats| stats.errors as f64),
        ];
        let nodes = self.0.nodes();
        for (name, help, reading) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for node in &nodes {
                let label = [("node", node.spec().id.as_str())];
                ConstGauge::new(reading(&node.stats())).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}
