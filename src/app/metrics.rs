//! What an instance tells Prometheus.

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
    /// All metrics of this instance, as OpenMetrics text.
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
        Sample::gauge("build_info", "The version and the instance; always 1")
            .labelled([("version", version), ("instance_id", &spec.id)], 1.0),
        Sample::gauge("draining", "Whether the instance is about to leave").value(flag(app.is_draining())),
        Sample::gauge("leader", "Whether the instance decides for the fleet")
            .value(flag(app.leader().fence_now(std::time::Instant::now()).is_some())),
        Sample::gauge("fleet_instances", "Instances in the fleet, as this one knows it")
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
    let offered = Sample::gauge("offered_requests_per_second", "Requests that come, those included that are refused");
    let cost = Sample::gauge("request_cpu_seconds", "Processor time that a request costs");
    let names = ByClass { login: "login", read: "read", change: "change" };
    let measured = app.load().measured();
    let classes = measured.map(|measured| names.zip(measured.offered).zip(measured.cost).into_array());
    let (offered, cost) =
        classes.into_iter().flatten().fold((offered, cost), |(offered, costs), ((class, rate), cost)| {
            (offered.labelled([("class", class)], rate), costs.labelled([("class", class)], cost))
        });
    let demand =
        Sample::gauge("fleet_demand_replicas", "Instances, each as busy as it is meant to be, that the fleet needs");
    vec![demand.value(view.as_of.and_then(|_| view.demand().ok())), offered, cost]
}

fn admission(app: &App) -> Vec<Sample> {
    let stats = app.admission().stats();
    let classes = [("login", stats.logins), ("request", stats.requests)];
    let each = |sample: Sample, value: fn(&GateStats) -> f64| {
        classes.iter().fold(sample, |sample, (class, counts)| sample.labelled([("class", class)], value(counts)))
    };
    let limit = Sample::gauge("admission_limit", "How many requests may be under way at a time");
    vec![
        each(Sample::counter("admission_offered", "Requests that came"), |counts| counts.offered as f64),
        each(Sample::counter("admission_admitted", "Requests that were let in"), |counts| counts.admitted as f64),
        each(Sample::counter("admission_queued", "Requests that had to wait"), |counts| counts.queued as f64),
        each(Sample::counter("admission_shed", "Requests that were refused"), |counts| counts.rejected as f64),
        each(Sample::gauge("admission_in_flight", "Requests that were let in and are under way"), |counts| {
            counts.in_flight as f64
        }),
        if stats.enabled { each(limit, |counts| counts.limit as f64) } else { limit },
    ]
}

fn hashing(app: &App) -> Vec<Sample> {
    let pool = app.passwords().stats();
    vec![
        Sample::counter("password_hashes", "Passwords hashed").value(pool.computed as f64),
        Sample::counter("password_hashes_refused", "Passwords not hashed, as too many waited")
            .value(pool.refused as f64),
        Sample::gauge("password_hashes_running", "Passwords being hashed").value(pool.running as f64),
        Sample::gauge("password_hashes_waiting", "Passwords that wait to be hashed").value(pool.waiting as f64),
        Sample::gauge("password_hash_duration_seconds", "How long hashing one takes, a running mean")
            .value(pool.mean.as_secs_f64()),
    ]
}

fn operators(app: &App) -> Vec<Sample> {
    let refused = Sample::counter("operator_requests_refused", "Requests to operator endpoints without the right");
    vec![refused.value(app.guesses().refused() as f64)]
}

fn circuits(app: &App) -> Vec<Sample> {
    let open = Sample::gauge("circuit_open", "Whether requests to a store are refused, as it does not answer");
    let store = |open: Sample, (store, circuit): (String, Circuit)| {
        open.labelled([("store", &store)], flag(circuit != Circuit::Closed))
    };
    vec![app.circuits().into_iter().fold(open, store)]
}

fn dependencies(app: &App) -> Vec<Sample> {
    let seen = app.dependencies_seen();
    let degraded = (!seen.is_empty()).then(|| flag(seen.iter().any(|one| !one.up)));
    let up = Sample::gauge("dependency_up", "Whether something that the instance depends on answers");
    vec![
        Sample::gauge("degraded", "Whether something that the instance depends on is down").value(degraded),
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
        Sample::counter("shard_lookup_batches", "Queries made for them"),
        Sample::counter("shard_lookup_batch_keys", "Rows that those asked for"),
        Sample::counter("shard_lookup_wait_seconds", "How long lookups waited until they were sent"),
        Sample::gauge("shard_lookup_batches_in_flight", "Queries for lookups that are under way"),
        Sample::gauge("shard_lookup_keys_waiting", "Rows that wait to be asked for"),
    ];
    batches(samples, kinds)
}

fn session_reads(app: &App) -> Vec<Sample> {
    let samples = [
        Sample::counter("session_reads", "Reads of sessions that may be joined into batches"),
        Sample::counter("session_read_batches", "Commands sent for them"),
        Sample::counter("session_read_batch_sessions", "Sessions that those asked for"),
        Sample::counter("session_read_wait_seconds", "How long reads waited until they were sent"),
        Sample::gauge("session_read_batches_in_flight", "Commands for reads that are under way"),
        Sample::gauge("session_reads_waiting", "Sessions that wait to be asked for"),
    ];
    batches(samples, app.session_batching().map(|stats| (Vec::new(), stats)).into_iter().collect())
}

/// What came of batches, each kind under its labels, in samples of lookups, batches, keys, wait, and how many batches are under
/// way and keys wait.
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
        Sample::gauge("cpu_ratio", "Processor time used, of the container's limit or of the machine")
            .value(ratio(now.cpu_percent)),
        Sample::gauge("cpu_limit_cores", "The container's limit of processor time").value(now.cpu_limit_cores),
        Sample::counter("cpu_seconds", "Processor time that the container has used").value(seconds(totals.cpu_used)),
        Sample::counter("cpu_throttled_seconds", "Time in which processes waited for the container's quota")
            .value(seconds(totals.cpu_throttled)),
        Sample::gauge("memory_ratio", "Memory used, of the container's limit or of the machine")
            .value(ratio(now.memory_percent)),
        Sample::gauge("memory_used_bytes", "Memory used by the container or the machine")
            .value(scaled(now.memory_used_mb, MIB)),
        Sample::gauge("memory_limit_bytes", "The container's limit of memory").value(scaled(now.memory_limit_mb, MIB)),
        Sample::counter("memory_oom_kills", "Processes of the container killed for want of memory")
            .value(now.memory_oom_kills.map(|kills| kills as f64)),
        Sample::gauge("disk_ratio", "Used part of the disk that holds the data").value(ratio(now.disk_usage_percent)),
        Sample::gauge("disk_free_bytes", "Free space on the disk that holds the data")
            .value(scaled(now.disk_free_gb, GIB)),
        Sample::gauge("pressure_ratio", "Part of the last ten seconds in which some work waited for a resource")
            .labelled([("resource", "cpu")], some(pressure.cpu))
            .labelled([("resource", "memory")], some(pressure.memory))
            .labelled([("resource", "io")], some(pressure.io)),
    ]
}

fn network(app: &App) -> Vec<Sample> {
    let totals = app.monitor().totals();
    vec![
        Sample::counter("network_transmit_bytes", "Bytes sent, loopback left out")
            .value(totals.network_bytes_sent as f64),
        Sample::counter("network_receive_bytes", "Bytes received, loopback left out")
            .value(totals.network_bytes_recv as f64),
    ]
}

fn tuning(app: &App) -> Vec<Sample> {
    let status = app.tuner().status();
    let value = Sample::gauge("tuner_knob", "What a knob is turned to, in its own unit");
    let level = Sample::gauge("tuner_rule_steps", "How many steps of a rule are in force");
    vec![
        Sample::gauge("tuner_enabled", "Whether the tuner turns knobs").value(flag(status.enabled)),
        Sample::counter("tuner_cycles", "How often the tuner has looked").value(status.cycles as f64),
        Sample::counter("tuner_actions", "How often a knob was turned").value(status.actions as f64),
        status
            .knobs
            .iter()
            .fold(value, |sample, knob| sample.labelled([("knob", knob.name), ("unit", knob.unit)], knob.value as f64)),
        status.rules.iter().fold(level, |sample, rule| sample.labelled([("rule", &rule.rule.name)], rule.level as f64)),
    ]
}
