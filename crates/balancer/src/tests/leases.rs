//! Leases, and that each one is returned.

use proptest::{prop_assert_eq, proptest, strategy::Strategy};

use super::*;

#[test]
fn concurrent_picks_do_not_exceed_the_limit() {
    let (balancer, now) = balancer(
        Algorithm::LeastConnections,
        Policy::default(),
        specs(3).into_iter().map(|spec| NodeSpec { max_connections: 10, ..spec }).collect(),
    );
    let held = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..20).map(|_| balancer.pick(&Caller::default(), now)).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(held.iter().filter(|lease| lease.is_ok()).count(), 30);
    assert!(held.iter().flat_map(|lease| lease.as_ref().err()).all(|error| *error == PickError::AllAtLimit));
    assert!(balancer.nodes().iter().all(|node| node.stats().in_flight == 10));
    drop(held);
    assert!(balancer.nodes().iter().all(|node| node.stats().in_flight == 0), "every lease is returned");
}

#[test]
fn a_lease_dropped_by_a_panic_is_returned() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(1));
    let lease = balancer.pick(&Caller::default(), now).expect("a node");
    let panicked = std::thread::spawn(move || {
        let _lease = lease;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let stats = balancer.nodes()[0].stats();
    assert_eq!((stats.in_flight, stats.errors), (0, 1));
}

#[test]
fn nodes_may_change_during_picks() {
    let (balancer, now) = balancer(Algorithm::PeakEwma, Policy::default(), specs(8));
    let held = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (balancer, held) = (&balancer, &held);
            scope.spawn(move || {
                for round in 0..5000 {
                    let lease = balancer.pick(&Caller::default(), now).expect("a node");
                    match round % 50 {
                        0 => held.lock().expect("no panic").push(lease),
                        rest => lease.end(if rest % 7 == thread { Outcome::Failure } else { Outcome::Success }, now),
                    }
                }
            });
        }
        scope.spawn(|| {
            for round in 0..500 {
                balancer.set_nodes(specs(4 + round % 5), now);
                balancer.set_algorithm(Algorithm::ALL[round % 8], now);
                balancer.set_healthy("node-1", round % 2 == 0, now);
                balancer.set_draining("node-1", round % 3 == 0, now);
            }
        });
    });
    let held = held.into_inner().expect("no panic");
    drop(held);
    assert!(balancer.nodes().iter().all(|node| node.stats().in_flight == 0));
}

#[test]
fn measurements_outlive_snapshots_and_specifications() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(2));
    answer(&balancer, 0, Outcome::Success, seconds(0.2), 3, now);
    let lease = balancer.nodes()[0].lease(now);
    balancer.set_nodes(specs(3).into_iter().map(|spec| NodeSpec { weight: 7, ..spec }), now);
    balancer.set_algorithm(Algorithm::Hash, now);
    let stats = balancer.nodes()[0].stats();
    assert_eq!((stats.requests, stats.in_flight, balancer.nodes()[0].spec().weight), (3, 1, 7));
    assert!((stats.average_response_time.as_secs_f64() - 0.2).abs() < 1e-6);
    drop(lease);
    assert_eq!(balancer.nodes()[0].stats().in_flight, 0);
}

proptest! {
    #[test]
    fn no_lease_is_lost_regardless_of_how_requests_end(
        ends in proptest::collection::vec(proptest::sample::select(vec![0u8, 1, 2, 3]), 1..200),
        algorithm in proptest::sample::select(Algorithm::ALL.to_vec()).prop_map(|algorithm| algorithm),
    ) {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(5));
        let mut held = Vec::new();
        for end in ends {
            if let Ok(lease) = balancer.pick(&Caller { key: "ada", ..Caller::default() }, now) {
                match end {
                    0 => lease.end(Outcome::Success, now),
                    1 => lease.end(Outcome::Failure, now),
                    2 => drop(lease),
                    _ => held.push(lease),
                }
            }
            let in_flight: u64 = balancer.nodes().iter().map(|node| node.stats().in_flight).sum();
            prop_assert_eq!(in_flight, held.len() as u64);
        }
    }
}
