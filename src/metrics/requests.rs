//! How many requests there were, how they ended and how long they took, by route: paths hold ids, routes don't.

use std::{
    fmt,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use super::SECONDS;

/// Counts requests; clones share the counts.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    ended: Family<Ended, Counter>,
    durations: Family<Target, Histogram, Durations>,
    in_flight: Gauge,
}

/// A request that is counted as ended when this is dropped.
#[derive(Debug)]
pub struct Observed {
    metrics: RequestMetrics,
    target: Target,
    status: Option<StatusCode>,
    began: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    route: String,
    status: Status,
}

/// The status of a response; none if the client went away before there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Status(Option<u16>);

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => EncodeLabelValue::encode(&status, encoder),
            None => "none".encode(encoder),
        }
    }
}

#[derive(Debug, Clone)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            durations: Family::new_with_constructor(Durations),
            in_flight: Gauge::default(),
        }
    }
}

impl RequestMetrics {
    /// A request that arrived at `began`, on a route, if there is such a one.
    pub fn observe(&self, method: &Method, route: Option<&str>, began: Instant) -> Observed {
        self.in_flight.inc();
        let target = Target { method: name(method), route: route.unwrap_or("none").to_owned() };
        Observed { metrics: self.clone(), target, status: None, began }
    }

    /// Has a registry show them.
    pub fn register(&self, registry: &mut Registry) {
        const ENDED: &str =
            "Requests that have ended, by route and status; status none: the client went away before it was known";
        const DURATION: &str = "Time from a request's arrival to the end of its response";
        registry.register("http_requests", ENDED, self.ended.clone());
        registry.register("http_request_duration_seconds", DURATION, self.durations.clone());
        // Their former names, throughout 0.1.x.
        registry.register("requests", ENDED, self.ended.clone());
        registry.register("request_duration_seconds", DURATION, self.durations.clone());
        registry.register("requests_in_flight", "Requests under way", self.in_flight.clone());
    }
}

impl Observed {
    /// Notes how it is answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.durations.get_or_create(&self.target).observe(took.as_secs_f64());
        let Target { method, route } = &mut self.target;
        let status = Status(self.status.map(|status| status.as_u16()));
        self.metrics.ended.get_or_create(&Ended { method, route: std::mem::take(route), status }).inc();
    }
}

/// Methods that anybody can make up are one.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &RequestMetrics) -> String {
        let mut registry = Registry::with_prefix("symbolon");
        metrics.register(&mut registry);
        crate::metrics::text(&registry)
    }

    #[test]
    fn requests_are_counted_by_route_and_status_once_they_end() {
        let metrics = RequestMetrics::default();
        let mut observed = metrics.observe(&Method::GET, Some("/v1/users/{user_id}"), Instant::now());
        assert!(shown(&metrics).contains("symbolon_requests_in_flight 1\n"));
        observed.answered(StatusCode::OK);
        drop(observed);
        let text = shown(&metrics);
        assert!(text.contains("symbolon_requests_in_flight 0\n"), "{text}");
        let labels = r#"method="GET",route="/v1/users/{user_id}""#;
        assert!(text.contains(&format!("symbolon_requests_total{{{labels},status=\"200\"}} 1\n")), "{text}");
        assert!(text.contains(&format!("symbolon_request_duration_seconds_count{{{labels}}} 1\n")), "{text}");
    }

    #[test]
    fn what_has_no_route_or_no_answer_or_no_known_method_is_one_series() {
        let metrics = RequestMetrics::default();
        drop(metrics.observe(&Method::from_bytes(b"BREW").expect("a method"), None, Instant::now()));
        let expected = r#"symbolon_requests_total{method="other",route="none",status="none"} 1"#;
        assert!(shown(&metrics).contains(expected), "{}", shown(&metrics));
    }
}
