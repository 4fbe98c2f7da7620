//! Metrics whose values live elsewhere and are read at each scrape.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

type Labels = Vec<(&'static str, String)>;

/// The values of a metric at one time. A metric without values is omitted.
#[derive(Debug, Clone)]
pub struct Sample {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Labels, f64)>,
}

impl Sample {
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Gauge, values: Vec::new() }
    }

    /// Creates a counter. The encoder appends `_total` to the name.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Counter, values: Vec::new() }
    }

    /// Adds a value without labels. None adds nothing.
    pub fn value(self, value: impl Into<Option<f64>>) -> Self {
        self.labelled([] as [(&str, &str); 0], value)
    }

    /// Adds a value with labels. None adds nothing.
    pub fn labelled<T: AsRef<str>>(
        mut self,
        labels: impl IntoIterator<Item = (&'static str, T)>,
        value: impl Into<Option<f64>>,
    ) -> Self {
        if let Some(value) = value.into() {
            self.values
                .push((labels.into_iter().map(|(name, value)| (name, value.as_ref().to_owned())).collect(), value));
        }
        self
    }
}

/// Encodes samples for a collector.
///
/// # Errors
/// Returns the errors of the encoder.
pub fn encode(samples: &[Sample], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for sample in samples.iter().filter(|sample| !sample.values.is_empty()) {
        let mut metric = encoder.encode_descriptor(sample.name, sample.help, None, sample.kind)?;
        match sample.values.as_slice() {
            // A family without labels would be written with empty braces.
            [(labels, value)] if labels.is_empty() => encode_value(sample.kind, *value, metric)?,
            values => {
                for (labels, value) in values {
                    encode_value(sample.kind, *value, metric.encode_family(labels)?)?;
                }
            }
        }
    }
    Ok(())
}

fn encode_value(kind: MetricType, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(value).encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{collector::Collector, registry::Registry};

    use super::*;

    #[derive(Debug)]
    struct Samples(Vec<Sample>);

    impl Collector for Samples {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encode(&self.0, &mut encoder)
        }
    }

    #[test]
    fn unknown_values_are_omitted() {
        let mut registry = Registry::with_prefix("symbolon");
        registry.register_collector(Box::new(Samples(vec![
            Sample::gauge("limit_cores", "A limit").value(None),
            Sample::counter("used_seconds", "A use").value(1.5),
            Sample::gauge("waiting", "Waiting work").labelled([("for", "cpu")], 0.25).labelled([("for", "io")], None),
        ])));
        let expected = "# HELP symbolon_used_seconds A use\n# TYPE symbolon_used_seconds counter\n\
                        symbolon_used_seconds_total 1.5\n\
                        # HELP symbolon_waiting Waiting work\n# TYPE symbolon_waiting gauge\n\
                        symbolon_waiting{for=\"cpu\"} 0.25\n# EOF\n";
        assert_eq!(crate::metrics::text(&registry), expected);
    }
}
