//! Leases and snapshots in every interleaving of a few threads, by the model checker loom (`scripts/test`).

use loom::thread;

use super::*;

/// Checks a model in all interleavings with up to three preemptions (Musuvathi and Qadeer 2007: few bugs need more).
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        // Picks must be the same in each run of an interleaving.
        fastrand::seed(1);
        model();
    });
}

fn balancer(algorithm: Algorithm, policy: Policy, ids: &[&str], max_connections: u32) -> (Arc<Balancer>, Instant) {
    let now = Instant::now();
    let balancer = Arc::new(Balancer::new(algorithm, policy, now));
    balancer.set_nodes(specs(ids, max_connections), now);
    (balancer, now)
}

fn specs(ids: &[&str], max_connections: u32) -> Vec<NodeSpec> {
    let spec = |id: &&str| NodeSpec {
        id: (*id).to_owned(),
        url: String::new(),
        weight: 1,
        max_connections,
        region: String::new(),
        zone: String::new(),
    };
    ids.iter().map(spec).collect()
}

fn pick(balancer: &Balancer, now: Instant) -> Result<Lease, PickError> {
    balancer.pick(&Caller::default(), now)
}

#[test]
fn the_last_free_connection_is_leased_once_and_returned() {
    check(|| {
        let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), &["a"], 1);
        let other = {
            let balancer = Arc::clone(&balancer);
            thread::spawn(move || pick(&balancer, now))
        };
        let mine = pick(&balancer, now);
        let other = other.join().expect("no panic");
        assert!(mine.is_ok() != other.is_ok(), "one of two gets the only connection");
        assert_eq!(balancer.nodes()[0].stats().in_flight, 1);
        drop((mine, other));
        assert_eq!(balancer.nodes()[0].stats().in_flight, 0);
        assert!(pick(&balancer, now).is_ok());
    });
}

#[test]
fn a_request_that_ends_while_nodes_change_is_recorded_on_its_node() {
    check(|| {
        let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), &["a"], 9);
        let lease = pick(&balancer, now).expect("a node");
        let ending = thread::spawn(move || lease.end(Outcome::Success, now));
        balancer.set_nodes(specs(&["a", "b"], 9), now);
        ending.join().expect("no panic");
        let stats = balancer.nodes()[0].stats();
        assert_eq!((stats.requests, stats.in_flight), (1, 0));
    });
}

#[test]
fn latencies_recorded_concurrently_are_both_kept() {
    check(|| {
        let (balancer, start) = balancer(Algorithm::PeakEwma, Policy::default(), &["a"], 9);
        let now = start + Duration::from_secs(1);
        let slow = balancer.nodes()[0].lease(start);
        let fast = balancer.nodes()[0].lease(now - Duration::from_millis(10));
        let ending = thread::spawn(move || slow.end(Outcome::Success, now));
        fast.end(Outcome::Success, now);
        ending.join().expect("no panic");
        let node = &balancer.nodes()[0];
        assert_eq!(node.stats().average_response_time, Duration::from_millis(505));
        let (shared, now) = (&balancer.shared, balancer.shared.moment(now));
        assert_eq!(node.measured().peak(now, &shared.rates), 1e9, "the higher one counts");
    });
}

#[test]
fn a_pick_after_the_ejecting_failure_gets_another_node() {
    check(|| {
        let policy = Policy { eject_after: 2, panic_threshold: 0.0, ..Policy::default() };
        let (balancer, now) = balancer(Algorithm::RoundRobin, policy, &["a", "b"], 9);
        let (first, second) = (balancer.nodes()[0].lease(now), balancer.nodes()[0].lease(now));
        let failing = thread::spawn(move || first.end(Outcome::Failure, now));
        second.end(Outcome::Failure, now);
        // May run before, during or after the ejection.
        let between = pick(&balancer, now).expect("a node");
        failing.join().expect("no panic");
        drop(between);
        for _ in 0..2 {
            let lease = pick(&balancer, now).expect("a node");
            assert_eq!(lease.node().spec().id, "b");
            lease.end(Outcome::Success, now);
        }
    });
}

#[test]
fn concurrent_changes_of_two_nodes_are_both_seen() {
    check(|| {
        let policy = Policy { panic_threshold: 0.0, ..Policy::default() };
        let (balancer, now) = balancer(Algorithm::RoundRobin, policy, &["a", "b", "c"], 9);
        let other = {
            let balancer = Arc::clone(&balancer);
            thread::spawn(move || balancer.set_healthy("a", false, now))
        };
        balancer.set_draining("b", true, now);
        other.join().expect("no panic");
        for _ in 0..3 {
            assert_eq!(pick(&balancer, now).expect("a node").node().spec().id, "c");
        }
    });
}
