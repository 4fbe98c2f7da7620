use std::collections::BTreeMap;

use proptest::{prop_assert, prop_assert_eq, proptest, strategy::Strategy};
use serde_json::Value;

use super::*;

fn spec(id: &str) -> NodeSpec {
    NodeSpec {
        id: id.to_owned(),
        url: format!("http://{id}"),
        weight: 1,
        max_connections: 100,
        region: "default".into(),
        zone: "default".into(),
    }
}

fn specs(count: usize) -> Vec<NodeSpec> {
    (0..count).map(|number| spec(&format!("node-{number}"))).collect()
}

fn balancer(algorithm: Algorithm, policy: Policy, specs: Vec<NodeSpec>) -> (Balancer, Instant) {
    let now = Instant::now();
    let balancer = Balancer::new(algorithm, policy, now);
    balancer.set_nodes(specs, now);
    (balancer, now)
}

fn id(lease: &Lease) -> String {
    lease.node().spec().id.clone()
}

/// How many of `picks` requests, each ended at once, go to each node.
fn shares(balancer: &Balancer, caller: &Caller<'_>, now: Instant, picks: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        let lease = balancer.pick(caller, now).expect("a node");
        *shares.entry(id(&lease)).or_default() += 1;
        lease.end(Outcome::Success, now);
    }
    shares
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Ends requests on a node one after the other with an outcome, each after so long.
fn answer(balancer: &Balancer, node: usize, outcome: Outcome, took: Duration, times: usize, now: Instant) {
    let node = &balancer.nodes()[node];
    (0..times).for_each(|_| node.lease(now - took).end(outcome, now));
}

#[test]
fn bare_picks_are_the_seeds() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/reference/picks.json")).expect("JSON");
    for case in &cases {
        let algorithm: Algorithm = case["algorithm"].as_str().expect("a name").parse().expect("an algorithm");
        let number = |node: &Value, member: &str| node[member].as_u64().expect("a number");
        let nodes = case["nodes"].as_array().expect("nodes");
        let spec_of = |node: &Value| NodeSpec {
            weight: number(node, "weight") as u32,
            max_connections: number(node, "max_connections") as u32,
            ..spec(node["id"].as_str().expect("an id"))
        };
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let balancer = Balancer::new(algorithm, Policy::bare(), start);
        balancer.set_nodes(nodes.iter().map(spec_of), start);
        let mut held = Vec::new();
        for (node, given) in balancer.nodes().iter().zip(nodes) {
            for time in given["response_times"].as_array().expect("times") {
                node.lease(now - seconds(time.as_f64().expect("a time"))).end(Outcome::Success, now);
            }
            held.extend((0..number(given, "current_connections")).map(|_| node.lease(now)));
            balancer.mark(&node.spec().id, given["healthy"] == true, false, now);
        }
        let snapshot = balancer.snapshot.load();
        let picks: Vec<Option<String>> = case["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .map(|key| {
                let caller = Caller { key: key.as_str().expect("a key"), ..Caller::default() };
                snapshot
                    .pick(&caller, &balancer.shared.policy, now)
                    .map(|index| snapshot.nodes()[index].spec().id.clone())
            })
            .collect();
        let expected: Vec<Option<String>> =
            case["picks"].as_array().expect("picks").iter().map(|pick| pick.as_str().map(str::to_owned)).collect();
        assert_eq!(picks, expected, "{algorithm} on {nodes:?}");
    }
}

#[test]
fn weights_are_kept_exactly_over_a_cycle() {
    let weighted = [5, 3, 2].iter().zip(specs(3)).map(|(weight, spec)| NodeSpec { weight: *weight, ..spec }).collect();
    let (balancer, now) = balancer(Algorithm::WeightedRoundRobin, Policy::default(), weighted);
    let shares = shares(&balancer, &Caller::default(), now, 1000);
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [500, 300, 200]);
}

#[test]
fn ties_are_broken_at_random() {
    for algorithm in
        [Algorithm::LeastConnections, Algorithm::LeastResponseTime, Algorithm::HealthBased, Algorithm::PeakEwma]
    {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(4));
        let shares = shares(&balancer, &Caller::default(), now, 4000);
        assert!(shares.len() == 4 && shares.values().all(|share| *share > 700), "{algorithm}: {shares:?}");
    }
}

#[test]
fn the_limit_of_a_node_holds_under_races() {
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
    assert!(balancer.nodes().iter().all(|node| node.stats().in_flight == 0), "every place is given back");
}

#[test]
fn what_was_measured_outlives_the_snapshot_and_the_spec() {
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

#[test]
fn a_node_that_fails_at_once_attracts_nothing() {
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
fn a_node_is_ejected_after_failures_in_a_row_for_longer_each_time() {
    let (balancer, start) =
        balancer(Algorithm::RoundRobin, Policy { slow_start: Duration::ZERO, ..Policy::default() }, specs(4));
    let is_used = |now| shares(&balancer, &Caller::default(), now, 8).contains_key("node-0");
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 4, start);
    answer(&balancer, 0, Outcome::Success, Duration::ZERO, 1, start);
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 4, start);
    assert!(is_used(start), "a success in between starts the count again");
    let mut now = start;
    for ejection in [5.0, 10.0, 20.0, 40.0] {
        answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 5, now);
        assert!(!is_used(now) && !is_used(now + seconds(ejection - 0.1)), "{ejection} s");
        now += seconds(ejection + 0.1);
        assert!(is_used(now), "{ejection} s");
    }
    now += seconds(301.0);
    answer(&balancer, 0, Outcome::Failure, Duration::ZERO, 5, now);
    assert!(!is_used(now + seconds(4.9)) && is_used(now + seconds(5.1)), "after a good time it is forgiven");
}

#[test]
fn with_most_nodes_down_all_are_used() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(4));
    for node in ["node-0", "node-1"] {
        balancer.mark(node, false, false, now);
    }
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 2);
    balancer.mark("node-2", false, false, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 4);
    balancer.mark("node-3", false, false, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 40).len(), 4, "the last one is never given up");
}

#[test]
fn a_draining_node_gets_nothing_and_loses_nothing() {
    let (balancer, now) = balancer(Algorithm::RoundRobin, Policy::default(), specs(2));
    let lease = balancer.nodes()[0].lease(now);
    balancer.mark("node-0", true, true, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 10).into_keys().collect::<Vec<_>>(), ["node-1"]);
    assert_eq!(balancer.nodes()[0].stats().in_flight, 1);
    drop(lease);
    balancer.mark("node-1", true, true, now);
    assert_eq!(balancer.pick(&Caller::default(), now).map(|lease| id(&lease)), Err(PickError::NoNodes));
}

#[test]
fn a_new_node_starts_slowly_and_ends_with_its_share() {
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::LeastResponseTime, Algorithm::PeakEwma]
    {
        let (balancer, start) = balancer(algorithm, Policy::default(), specs(3));
        for node in 0..3 {
            answer(&balancer, node, Outcome::Success, seconds(0.05), 10, start);
        }
        balancer.set_nodes(specs(4), start);
        // Requests are held, so that algorithms which look at latency alone see equal nodes.
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
fn a_latency_that_is_not_confirmed_is_forgotten() {
    let (balancer, now) = balancer(Algorithm::PeakEwma, Policy::default(), specs(2));
    answer(&balancer, 0, Outcome::Success, seconds(2.0), 1, now);
    answer(&balancer, 1, Outcome::Success, seconds(0.05), 1, now);
    assert_eq!(shares(&balancer, &Caller::default(), now, 50).get("node-0"), None);
    let later = now + seconds(200.0);
    answer(&balancer, 1, Outcome::Success, seconds(0.05), 1, later);
    assert!(shares(&balancer, &Caller::default(), later, 1).contains_key("node-0"));
}

#[test]
fn a_request_is_not_given_back_to_the_node_that_failed_it() {
    for algorithm in Algorithm::ALL {
        let (balancer, now) = balancer(algorithm, Policy::default(), specs(2));
        let caller = Caller { key: "ada", not: Some("node-0"), ..Caller::default() };
        let shares = shares(&balancer, &caller, now, 50);
        assert!(shares.get("node-1").is_some_and(|share| *share > 40), "{algorithm}: {shares:?}");
    }
}

fn placed(zones: &[(&str, &str)]) -> Vec<NodeSpec> {
    let place = |(spec, (region, zone)): (NodeSpec, &(&str, &str))| NodeSpec {
        region: (*region).to_owned(),
        zone: (*zone).to_owned(),
        ..spec
    };
    specs(zones.len()).into_iter().zip(zones).map(place).collect()
}

#[test]
fn callers_are_served_in_their_zone_then_in_their_region_then_anywhere() {
    let places = [("eu", "a"), ("eu", "a"), ("eu", "b"), ("us", "a")];
    let (balancer, now) = balancer(Algorithm::Geographic, Policy::default(), placed(&places));
    let served = |region, zone| {
        let caller = Caller { region, zone, ..Caller::default() };
        shares(&balancer, &caller, now, 200).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(served("eu", "a"), ["node-0", "node-1"]);
    assert_eq!(served("eu", "c"), ["node-0", "node-1", "node-2"]);
    assert_eq!(served("asia", "a").len(), 4);
    assert_eq!(served("", "").len(), 4);
}

#[test]
fn what_a_zone_can_not_take_spills_over() {
    let places = [("eu", "a"), ("eu", "a"), ("eu", "b"), ("eu", "b"), ("us", "a")];
    let (balancer, now) = balancer(Algorithm::Geographic, Policy::default(), placed(&places));
    let caller = Caller { region: "eu", zone: "a", ..Caller::default() };
    balancer.mark("node-0", false, false, now);
    let shares = shares(&balancer, &caller, now, 1000);
    let spilled = shares["node-2"] + shares["node-3"];
    // Half a zone is trusted with 70 %, and of the rest its region, itself included, takes what it takes.
    assert!((120..280).contains(&spilled), "{shares:?}");
    let held: Vec<Lease> = (0..200).map(|_| balancer.pick(&caller, now).expect("a node")).collect();
    let full = held.iter().filter(|lease| id(lease) == "node-1").count();
    assert!(full <= 70, "{full} in flight on the node that is left");
}

#[test]
fn a_key_stays_on_its_node_until_that_has_more_than_its_share() {
    let (balancer, now) = balancer(Algorithm::Hash, Policy::default(), specs(4));
    let caller = Caller { key: "ada", ..Caller::default() };
    assert_eq!(shares(&balancer, &caller, now, 50).len(), 1);
    let held: Vec<Lease> = (0..100).map(|_| balancer.pick(&caller, now).expect("a node")).collect();
    let most = balancer.nodes().iter().map(|node| node.stats().in_flight).max().expect("nodes");
    assert_eq!(most, 32, "ceil(1.25 × 101 ÷ 4)");
    drop(held);
}

proptest! {
    #[test]
    fn a_bounded_load_stays_within_its_bound(
        weights in proptest::collection::vec(1u32..8, 1..12),
        keys in proptest::collection::vec("[a-d]", 1..120),
    ) {
        let weighted = specs(weights.len()).into_iter().zip(&weights);
        let weighted = weighted.map(|(spec, weight)| NodeSpec { weight: *weight, max_connections: 1000, ..spec }).collect();
        let (balancer, now) = balancer(Algorithm::Hash, Policy::default(), weighted);
        let total: u32 = weights.iter().sum();
        let mut held = Vec::new();
        for key in &keys {
            held.push(balancer.pick(&Caller { key, ..Caller::default() }, now).expect("a node"));
            for node in balancer.nodes() {
                let bound = 1.25 * f64::from(node.spec().weight) / f64::from(total) * held.len() as f64;
                prop_assert!(node.stats().in_flight as f64 <= bound.ceil());
            }
        }
    }

    #[test]
    fn a_node_that_goes_takes_only_its_own_keys_along(count in 2usize..12, gone in 0usize..12) {
        let gone = gone % count;
        let (balancer, now) = balancer(Algorithm::Hash, Policy { load_bound: 0.0, panic_below: 0.0, ..Policy::default() }, specs(count));
        let keys: Vec<String> = (0..500).map(|key| format!("key-{key}")).collect();
        let owners = || -> Vec<String> {
            keys.iter().map(|key| id(&balancer.pick(&Caller { key, ..Caller::default() }, now).expect("a node"))).collect()
        };
        let before = owners();
        balancer.mark(&format!("node-{gone}"), false, false, now);
        let after = owners();
        let lost = format!("node-{gone}");
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        prop_assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == lost));
        prop_assert!(moved as f64 <= 500.0 / count as f64 * 1.6 + 25.0, "{moved} of 500 moved from one of {count}");
    }

    #[test]
    fn no_place_is_lost_however_requests_end(
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

#[test]
fn a_lease_dropped_by_a_panic_is_given_back() {
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
fn nodes_may_change_while_they_are_picked() {
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
                balancer.mark("node-1", round % 2 == 0, round % 3 == 0, now);
            }
        });
    });
    let held = held.into_inner().expect("no panic");
    drop(held);
    assert!(balancer.nodes().iter().all(|node| node.stats().in_flight == 0));
}
