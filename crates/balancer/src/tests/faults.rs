//! Failing, slow, new and draining nodes.

use super::*;

#[test]
fn a_node_that_fails_fast_gets_no_requests() {
    for algorithm in [Algorithm::LeastResponseTime, Algorithm::PeakEwma, Algorithm::HealthBased] {
        let policy = Policy { eject_after: 0, ..Policy::default() };
        let (balancer, now) = balancer(algorithm, policy, specs(3));
        for node in 1..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, now);
        }
        answer(&balancer, 0, Outcome::Failure, seconds(0.0001), 10, now);
        let shares = shares(&balancer, &Caller::default(), now, 300);
        assert_eq!(shares.get("node-0"), None, "{algorithm}: {shares:?}");
    }
}

#[test]
fn a_node_that_refuses_is_not_ejected_and_gets_no_requests() {
    for algorithm in [Algorithm::LeastResponseTime, Algorithm::PeakEwma, Algorithm::HealthBased] {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(3));
        for node in 1..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, now);
        }
        answer(&balancer, 0, Outcome::Refused, seconds(0.0001), 100, now);
        let shares = shares(&balancer, &Caller::default(), now, 300);
        assert_eq!(shares.get("node-0"), None, "{algorithm}: {shares:?}");
        let stats = balancer.nodes()[0].stats();
        assert_eq!((stats.errors, stats.ejected_until), (0, None), "{algorithm}");
    }
}

#[test]
fn a_refusal_does_not_interrupt_failures_in_a_row() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(4));
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 4, now);
    answer(&balancer, 0, Outcome::Refused, Duration::ZERO, 1, now);
    assert_eq!(balancer.nodes()[0].stats().ejected_until, None);
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 1, now);
    assert!(balancer.nodes()[0].stats().ejected_until.is_some());
}

#[test]
fn failures_in_a_row_eject_a_node_for_longer_each_time() {
    let (balancer, start) =
        balancer(Algorithm::RoundRobin, Policy { slow_start: Duration::ZERO, ..Policy::default() }, specs(4));
    let is_used = |now| shares(&balancer, &Caller::default(), now, 8).contains_key("node-0");
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 4, start);
    answer(&balancer, 0, Outcome::Success, Duration::ZERO, 1, start);
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 4, start);
    assert!(is_used(start), "a success resets the count");
    let mut now = start;
    for ejection in [5.0, 10.0, 20.0, 40.0] {
        answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 5, now);
        assert!(!is_used(now) && !is_used(now + seconds(ejection - 0.1)), "{ejection} s");
        now += seconds(ejection + 0.1);
        assert!(is_used(now), "{ejection} s");
    }
    now += seconds(301.0);
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 5, now);
    assert!(!is_used(now + seconds(4.9)) && is_used(now + seconds(5.1)), "the duration is reset after a good time");
}

#[test]
fn all_nodes_are_used_when_most_are_unhealthy() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(4));
    for node in ["node-0", "node-1"] {
        balancer.set_healthy(node, false, now);
    }
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 2);
    balancer.set_healthy("node-2", false, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 4);
    balancer.set_healthy("node-3", false, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 4, "even when all are unhealthy");
}

#[test]
fn a_draining_node_gets_no_new_requests_and_keeps_its_own() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(2));
    let lease = balancer.nodes()[0].lease(now);
    balancer.set_draining("node-0", true, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 10).into_keys().collect::<Vec<_>>(), ["node-1"]);
    assert_eq!(balancer.nodes()[0].stats().in_flight, 1);
    drop(lease);
    balancer.set_draining("node-1", true, now);
    assert_eq!(balancer.pick(&Caller::default(), now).map(|lease| id(&lease)), Err(PickError::NoNodes));
}

#[test]
fn a_new_node_ramps_up_to_its_share() {
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::LeastResponseTime, Algorithm::PeakEwma]
    {
        let (balancer, start) = balancer(algorithm, Policy::default(), specs(3));
        for node in 0..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, start);
        }
        balancer.set_nodes(specs(4), start);
        // Requests stay in flight, so that algorithms which use latency alone see equal nodes.
        let share_at = |now: Instant| {
            let mut leases = Vec::new();
            for _ in 0..300 {
                leases.push(balancer.pick(&Caller::default(), now).expect("a node"));
            }
            leases.iter().filter(|lease| id(lease) == "node-3").count()
        };
        let first = share_at(start + seconds(0.1));
        let later = share_at(start + seconds(31.0));
        assert!(first < 55, "{algorithm}: {first} of 300 at once");
        assert!(later > 55, "{algorithm}: {later} of 300 later");
    }
}

#[test]
fn a_new_node_is_used_even_if_requests_are_sequential_and_the_others_were_slow() {
    for algorithm in [Algorithm::LeastResponseTime, Algorithm::PeakEwma, Algorithm::HealthBased] {
        let (balancer, mut now) = balancer(algorithm, Policy::default(), specs(1));
        answer(&balancer, 0, Outcome::Success, seconds(0.2), 1, now);
        balancer.set_nodes(specs(2), now);
        let mut taken = 0;
        for _ in 0..10_000 {
            now += seconds(0.01);
            let lease = balancer.pick(&Caller::default(), now).expect("a node");
            taken += usize::from(id(&lease) == "node-1");
            now += seconds(0.002);
            lease.end(Outcome::Success, now);
        }
        assert!(taken > 0, "{algorithm}");
    }
}

#[test]
fn an_unconfirmed_latency_is_forgotten() {
    let (balancer, now) = balancer(Algorithm::PeakEwma, Policy::default(), specs(2));
    answer(&balancer, 0, Outcome::Success, seconds(2.0), 1, now);
    answer(&balancer, 1, Outcome::Success, seconds(0.05), 1, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 50).get("node-0"), None);
    let later = now + seconds(200.0);
    answer(&balancer, 1, Outcome::Success, seconds(0.05), 1, later);
    assert!(shares(&balancer, &Caller::default(), later, 1).contains_key("node-0"));
}

#[test]
fn a_slow_node_is_tried_again() {
    for algorithm in [Algorithm::LeastResponseTime, Algorithm::HealthBased] {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(3));
        answer(&balancer, 0, Outcome::Success, seconds(2.0), 10, now);
        for node in 1..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, now);
        }
        assert_eq!(shares(&balancer, &Caller::default(), now, 50).get("node-0"), None, "{algorithm}");
        let later = now + seconds(600.0);
        for node in 1..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, later);
        }
        let held: Vec<Lease> = (0..50).map(|_| balancer.pick(&Caller::default(), later).expect("a node")).collect();
        assert!(held.iter().any(|lease| id(lease) == "node-0"), "{algorithm}");
    }
}

#[test]
fn a_retry_avoids_the_failed_node() {
    for &algorithm in Algorithm::ALL {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(2));
        let caller = Caller { key: "ada", failed: Some("node-0"), ..Caller::default() };
        let shares = shares(&balancer, &caller, now, 50);
        assert_eq!(shares.get("node-0"), None, "{algorithm}: {shares:?}");
    }
}

#[test]
fn a_retry_avoids_the_failed_node_even_if_all_others_are_new() {
    for &algorithm in Algorithm::ALL {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(1));
        let now = now + Duration::from_secs(1);
        balancer.set_nodes(specs(3), now);
        let caller = Caller { key: "ada", failed: Some("node-0"), ..Caller::default() };
        let shares = shares(&balancer, &caller, now, 200);
        assert_eq!(shares.get("node-0"), None, "{algorithm}: {shares:?}");
    }
}
