//! Metrics of the gateway.

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

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// By the class of the status, `1xx` to `5xx`.
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
        registry.register("requests", "Forwarded requests, by the class of their status", requests);
        registry.register(
            "request_duration_seconds",
            "Time from a request's head to its response's head",
            durations.clone(),
        );
        registry.register("retries", "Requests sent again to another node", retries.clone());
        registry.register("retries_refused", "Requests not sent again for lack of budget", refused_retries.clone());
        registry.register_collector(Box::new(NodeCollector(balancer)));
        registry.register_collector(Box::new(ClientCollector(connections)));
        Self { registry, requests: by_class, durations, retries, refused_retries }
    }

    pub(super) fn count(&self, status: StatusCode, elapsed: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.requests[class - 1].inc();
        self.durations.observe(elapsed.as_secs_f64());
    }

    pub(super) fn count_retry(&self) {
        self.retries.inc();
    }

    pub(super) fn count_refused_retry(&self) {
        self.refused_retries.inc();
    }

    /// Returns the numbers of forwarded requests, of retries, and of retries refused for lack of budget.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        (self.requests.iter().map(Counter::get).sum(), self.retries.get(), self.refused_retries.get())
    }

    /// Returns all metrics as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        metrics::text(&self.registry)
    }
}

#[derive(Debug)]
struct ClientCollector(Connections);

impl Collector for ClientCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        metrics::encode(&self.0.samples(), &mut encoder)
    }
}

#[derive(Debug)]
struct NodeCollector(Arc<Balancer>);

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Reading = fn(&NodeStats) -> f64;
        let samples: [(Sample, Reading); 5] = [
            (Sample::gauge("node_in_flight", "Requests in flight on a node"), |stats| stats.in_flight as f64),
            (Sample::gauge("node_healthy", "1 if health checks of the node succeed"), |stats| {
                f64::from(u8::from(stats.healthy))
            }),
            (Sample::gauge("node_draining", "1 if the node is about to leave"), |stats| {
                f64::from(u8::from(stats.draining))
            }),
            (Sample::counter("node_requests", "Requests that ended on a node"), |stats| stats.requests as f64),
            (Sample::counter("node_errors", "Requests that failed on a node"), |stats| stats.errors as f64),
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
