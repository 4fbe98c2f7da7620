//! What the gateway counts, in Prometheus' names.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use symbolon_balancer::{Balancer, NodeStats};

use crate::{
    metrics::{self, SECONDS, Sample},
    web::Connections,
};

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
    pub(super) fn new(balancer: Arc<Balancer>, connections: Connections) -> Self {
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
        registry.register_collector(Box::new(Clients(connections)));
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
        metrics::text(&self.registry)
    }
}

/// The connections with clients at the time.
#[derive(Debug)]
struct Clients(Connections);

impl Collector for Clients {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        metrics::encode(&self.0.samples(), &mut encoder)
    }
}

/// What the balancer knows of its nodes at the time.
#[derive(Debug)]
struct Nodes(Arc<Balancer>);

impl Collector for Nodes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Reading = fn(&NodeStats) -> f64;
        let samples: [(Sample, Reading); 5] = [
            (Sample::gauge("node_in_flight", "Requests on a node"), |stats| stats.in_flight as f64),
            (Sample::gauge("node_healthy", "Whether health checks find a node well"), |stats| {
                f64::from(u8::from(stats.healthy))
            }),
            (Sample::gauge("node_draining", "Whether a node is about to leave"), |stats| {
                f64::from(u8::from(stats.draining))
            }),
            (Sample::counter("node_requests", "Requests that a node has ended"), |stats| stats.requests as f64),
            (Sample::counter("node_errors", "Requests that a node has failed"), |stats| stats.errors as f64),
        ];
        let nodes = self.0.nodes();
        let samples = samples.map(|(sample, reading)| {
            nodes
                .iter()
                .fold(sample, |sample, node| sample.labelled([("node", &node.spec().id)], reading(&node.stats())))
        });
        metrics::encode(&samples, &mut encoder)
    }
}
