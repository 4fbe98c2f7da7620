mod faults;
mod keys;
mod leases;
mod near;

use std::collections::BTreeMap;

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

/// Returns how many of `picks` requests, each ended at once, go to each node.
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

/// Ends `times` requests on a node with an outcome, each after `took`.
fn answer(balancer: &Balancer, node: usize, outcome: Outcome, took: Duration, times: usize, now: Instant) {
    let node = &balancer.nodes()[node];
    (0..times).for_each(|_| node.lease(now - took).end(outcome, now));
}

#[test]
fn bare_picks_equal_those_of_the_reference_design() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/reference/picks.json")).expect("JSON");
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
            balancer.set_healthy(&node.spec().id, given["healthy"] == true, now);
        }
        let snapshot = balancer.snapshot.load();
        let picks: Vec<Option<String>> = case["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .map(|key| {
                let caller = Caller { key: key.as_str().expect("a key"), ..Caller::default() };
                let index = snapshot.pick(&caller, &balancer.shared, balancer.shared.moment(now))?;
                Some(snapshot.candidates()[index].node.spec().id.clone())
            })
            .collect();
        let expected: Vec<Option<String>> =
            case["picks"].as_array().expect("picks").iter().map(|pick| pick.as_str().map(str::to_owned)).collect();
        assert_eq!(picks, expected, "{algorithm} on {nodes:?}");
    }
}

#[test]
fn weights_are_exact_over_a_cycle() {
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
