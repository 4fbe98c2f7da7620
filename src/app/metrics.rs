//! The instance's metrics for Prometheus.

use std::{fmt, time::Duration};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use symbolon_admission::GateStats;
use symbolon_batcher::BatchStats;

use super::App;
use crate::{
    breaker::Circuit,
    clock::SHARED,
    metrics::{self, Sample},
    model::ByClass,
    monitor::{ResourceMetrics, Stall},
};

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

impl App {
    /// Returns all metrics of this instance as OpenMetrics text.
    pub fn metrics_text(&self) -> String {
        let mut registry = Registry::with_prefix("symbolon");
        self.0.requests.register(&mut registry);
        let systems = [
            about,
            connections,
            demand,
            admission,
            hashing,
            operators,
            circuits,
            dependencies,
            lookups,
            session_reads,
            resources,
            network,
            tuning,
        ];
        let samples = systems.into_iter().flat_map(|system| system(self)).collect();
        registry.register_collector(Box::new(Samples(samples)));
        metrics::text(&registry)
    }
}

#[derive(Debug)]
struct Samples(Vec<Sample>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        metrics::encode(&self.0, &mut encoder)
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn about(app: &App) -> Vec<Sample> {
    let spec = app.fleet().own().spec();
    let version = env!("CARGO_PKG_VERSION");
    let fleet = app.fleet().watch().last();
    vec![
        Sample::gauge("build_info", "Version and id of the instance; always 1")
            .labelled([("version", version), ("instance_id", &spec.id)], 1.0),
        Sample::gauge("draining", "1 if the instance is about to leave the fleet").value(flag(app.is_draining())),
        Sample::gauge("leader", "1 if the instance leads the fleet")
            .value(flag(app.leader().fence_now(std::time::Instant::now()).is_some())),
        Sample::gauge("fleet_instances", "Instances in the fleet, as this instance sees it")
            .value(fleet.as_of.map(|_| fleet.instances.len() as f64)),
        Sample::gauge("clock_difference_seconds", "How far this machine's clock is ahead of the shared store's")
            .value(SHARED.difference()),
    ]
}

fn connections(app: &App) -> Vec<Sample> {
    app.connections().samples()
}

fn demand(app: &App) -> Vec<Sample> {
    let view = app.fleet().watch().last();
    let offered =
        Sample::gauge("offered_requests_per_second", "Requests that arrive per second, including refused ones");
    let cost = Sample::gauge("request_cpu_seconds", "Estimated processor time of one request");
    let names = ByClass { login: "login", read: "read", change: "change" };
    let measured = app.load().measured();
    let classes = measured.map(|measured| names.zip(measured.offered).zip(measured.cost).into_array());
    let (offered, cost) =
        classes.into_iter().flatten().fold((offered, cost), |(offered, costs), ((class, rate), cost)| {
            (offered.labelled([("class", class)], rate), costs.labelled([("class", class)], cost))
        });
    let demand = Sample::gauge("fleet_demand_replicas", "Instances that the fleet needs at the target utilization");
    vec![demand.value(view.as_of.and_then(|_| view.demand().ok())), offered, cost]
}

fn admission(app: &App) -> Vec<Sample> {
    let stats = app.admission().stats();
    let classes = [("login", stats.logins), ("request", stats.requests)];
    let each = |sample: Sample, value: fn(&GateStats) -> f64| {
        classes.iter().fold(sample, |sample, (class, counts)| sample.labelled([("class", class)], value(counts)))
    };
    let limit = Sample::gauge("admission_limit", "Concurrency limit");
    vec![
        each(Sample::counter("admission_offered", "Requests that arrived"), |counts| counts.offered as f64),
        each(Sample::counter("admission_admitted", "Requests that were admitted"), |counts| counts.admitted as f64),
        each(Sample::counter("admission_queued", "Requests that waited in the queue"), |counts| counts.queued as f64),
        each(Sample::counter("admission_shed", "Requests that were refused"), |counts| counts.rejected as f64),
        each(Sample::gauge("admission_in_flight", "Admitted requests in progress"), |counts| counts.in_flight as f64),
        if stats.enabled { each(limit, |counts| counts.limit as f64) } else { limit },
    ]
}

fn hashing(app: &App) -> Vec<Sample> {
    let pool = app.passwords().stats();
    vec![
        Sample::counter("password_hashes", "Passwords hashed").value(pool.computed as f64),
        Sample::counter("password_hashes_refused", "Passwords not hashed because too many were waiting")
            .value(pool.refused as f64),
        Sample::gauge("password_hashes_running", "Passwords being hashed").value(pool.running as f64),
        Sample::gauge("password_hashes_waiting", "Passwords waiting to be hashed").value(pool.waiting as f64),
        Sample::gauge("password_hash_duration_seconds", "Running mean of the time to hash one password")
            .value(pool.mean.as_secs_f64()),
    ]
}

fn operators(app: &App) -> Vec<Sample> {
    let refused = Sample::counter("operator_requests_refused", "Requests to operator endpoints without permission");
    vec![refused.value(app.guesses().refused() as f64)]
}

fn circuits(app: &App) -> Vec<Sample> {
    let open = Sample::gauge("circuit_open", "1 while requests to a store are refused because it does not answer");
    let store = |open: Sample, (store, circuit): (String, Circuit)| {
        open.labelled([("store", &store)], flag(circuit != Circuit::Closed))
    };
    vec![app.circuits().into_iter().fold(open, store)]
}

fn dependencies(app: &App) -> Vec<Sample> {
    let seen = app.dependencies_seen();
    let degraded = (!seen.is_empty()).then(|| flag(seen.iter().any(|one| !one.up)));
    let up = Sample::gauge("dependency_up", "1 if the dependency answers");
    vec![
        Sample::gauge("degraded", "1 while a dependency of the instance is down").value(degraded),
        seen.iter().fold(up, |up, one| up.labelled([("dependency", one.name.as_str())], flag(one.up))),
    ]
}

fn lookups(app: &App) -> Vec<Sample> {
    let shards = app.shards().batching();
    let kinds = shards
        .iter()
        .flat_map(|(shard, batching)| [(*shard, "user", batching.users), (*shard, "name", batching.names)])
        .map(|(shard, kind, stats)| (vec![("shard", shard), ("kind", kind)], stats))
        .collect();
    let samples = [
        Sample::counter("shard_lookups", "Lookups of users and login names"),
        Sample::counter("shard_lookup_batches", "Queries sent for lookups"),
        Sample::counter("shard_lookup_batch_keys", "Rows that lookup queries asked for"),
        Sample::counter("shard_lookup_wait_seconds", "Time that lookups waited before they were sent"),
        Sample::gauge("shard_lookup_batches_in_flight", "Lookup queries in progress"),
        Sample::gauge("shard_lookup_keys_waiting", "Rows waiting for a lookup query"),
    ];
    batches(samples, kinds)
}

fn session_reads(app: &App) -> Vec<Sample> {
    let samples = [
        Sample::counter("session_reads", "Session reads that can be batched"),
        Sample::counter("session_read_batches", "Commands sent for session reads"),
        Sample::counter("session_read_batch_sessions", "Sessions that these commands asked for"),
        Sample::counter("session_read_wait_seconds", "Time that session reads waited before they were sent"),
        Sample::gauge("session_read_batches_in_flight", "Session-read commands in progress"),
        Sample::gauge("session_reads_waiting", "Sessions waiting for a command"),
    ];
    batches(samples, app.session_batching().map(|stats| (Vec::new(), stats)).into_iter().collect())
}

/// Fills samples of lookups, batches, keys, waiting time, batches in flight and waiting keys. `kinds` are the labels and counts
/// of each kind of batch.
fn batches(samples: [Sample; 6], kinds: Vec<(Vec<(&'static str, &str)>, BatchStats)>) -> Vec<Sample> {
    let values: [fn(&BatchStats) -> f64; 6] = [
        |stats| stats.lookups as f64,
        |stats| stats.batches as f64,
        |stats| stats.keys as f64,
        |stats| stats.waited.as_secs_f64(),
        |stats| stats.in_flight as f64,
        |stats| stats.waiting as f64,
    ];
    let filled = |(sample, value): (Sample, fn(&BatchStats) -> f64)| {
        kinds.iter().fold(sample, |sample, (labels, stats)| sample.labelled(labels.iter().copied(), value(stats)))
    };
    samples.into_iter().zip(values).map(filled).collect()
}

fn resources(app: &App) -> Vec<Sample> {
    let Some(now) = app.monitor().current() else { return Vec::new() };
    let ResourceMetrics { pressure, .. } = now;
    let totals = app.monitor().totals();
    let ratio = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
    let scaled = |value: Option<f64>, unit: f64| value.map(|value| value * unit);
    let some = |stall: Option<Stall>| ratio(stall.map(|stall| stall.some_avg10));
    vec![
        Sample::gauge("cpu_ratio", "Used share of the container's CPU limit, or of the machine without one")
            .value(ratio(now.cpu_percent)),
        Sample::gauge("cpu_limit_cores", "CPU limit of the container").value(now.cpu_limit_cores),
        Sample::counter("cpu_seconds", "Processor time used by the container").value(seconds(totals.cpu_used)),
        Sample::counter("cpu_throttled_seconds", "Time that processes waited because of the container's CPU quota")
            .value(seconds(totals.cpu_throttled)),
        Sample::gauge("memory_ratio", "Used share of the container's memory limit, or of the machine without one")
            .value(ratio(now.memory_percent)),
        Sample::gauge("memory_used_bytes", "Memory used by the container or the machine")
            .value(scaled(now.memory_used_mb, MIB)),
        Sample::gauge("memory_limit_bytes", "Memory limit of the container").value(scaled(now.memory_limit_mb, MIB)),
        Sample::counter("memory_oom_kills", "Processes of the container killed for lack of memory")
            .value(now.memory_oom_kills.map(|kills| kills as f64)),
        Sample::gauge("disk_ratio", "Used share of the disk that holds the data").value(ratio(now.disk_usage_percent)),
        Sample::gauge("disk_free_bytes", "Free space on the disk that holds the data")
            .value(scaled(now.disk_free_gb, GIB)),
        Sample::gauge("pressure_ratio", "Share of the last ten seconds in which some work waited for the resource")
            .labelled([("resource", "cpu")], some(pressure.cpu))
            .labelled([("resource", "memory")], some(pressure.memory))
            .labelled([("resource", "io")], some(pressure.io)),
    ]
}

fn network(app: &App) -> Vec<Sample> {
    let totals = app.monitor().totals();
    vec![
        Sample::counter("network_transmit_bytes", "Bytes sent, without loopback")
            .value(totals.network_bytes_sent as f64),
        Sample::counter("network_receive_bytes", "Bytes received, without loopback")
            .value(totals.network_bytes_recv as f64),
    ]
}

fn tuning(app: &App) -> Vec<Sample> {
    let status = app.tuner().status();
    let value = Sample::gauge("tuner_knob", "Value of a knob, in its own unit");
    let level = Sample::gauge("tuner_rule_steps", "Steps of a rule in force");
    vec![
        Sample::gauge("tuner_enabled", "1 if tuning is enabled").value(flag(status.enabled)),
        Sample::counter("tuner_cycles", "Tuning cycles").value(status.cycles as f64),
        Sample::counter("tuner_actions", "Adjustments of knobs").value(status.actions as f64),
        status
            .knobs
            .iter()
            .fold(value, |sample, knob| sample.labelled([("knob", knob.name), ("unit", knob.unit)], knob.value as f64)),
        status.rules.iter().fold(level, |sample, rule| sample.labelled([("rule", &rule.rule.name)], rule.level as f64)),
    ]
}
