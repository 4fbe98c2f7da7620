//! Affinity of keys.

use proptest::{prop_assert, proptest};

use super::*;

#[test]
fn a_key_stays_on_its_node_up_to_the_load_bound() {
    let (balancer, now) = balancer(Algorithm::Hash, Policy::default(), specs(4));
    let caller = Caller { key: "ada", ..Caller::default() };
    assert_eq!(shares(&balancer, &caller, now, 50).len(), 1);
    let held: Vec<Lease> = (0..100).map(|_| balancer.pick(&caller, now).expect("a node")).collect();
    let max = balancer.nodes().iter().map(|node| node.stats().in_flight).max().expect("nodes");
    assert_eq!(max, 32, "ceil(1.25 × 101 ÷ 4)");
    drop(held);
}

proptest! {
    #[test]
    fn no_node_exceeds_the_load_bound(
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
    fn an_unhealthy_node_loses_only_its_own_keys(count in 2usize..12, removed in 0usize..12) {
        let removed = removed % count;
        let (balancer, now) = balancer(Algorithm::Hash, Policy { load_bound: 0.0, panic_threshold: 0.0, ..Policy::default() }, specs(count));
        let keys: Vec<String> = (0..500).map(|key| format!("key-{key}")).collect();
        let owners = || -> Vec<String> {
            keys.iter().map(|key| id(&balancer.pick(&Caller { key, ..Caller::default() }, now).expect("a node"))).collect()
        };
        let before = owners();
        balancer.set_healthy(&format!("node-{removed}"), false, now);
        let after = owners();
        let lost = format!("node-{removed}");
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        prop_assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == lost));
        prop_assert!(moved as f64 <= 500.0 / count as f64 * 1.6 + 25.0, "{moved} of 500 moved from one of {count}");
    }
}

#[test]
fn a_weight_out_of_range_is_clamped() {
    let now = Instant::now();
    let balancer = Balancer::new(Algorithm::Hash, Policy::default(), now);
    let mut nodes = [spec("a"), spec("b")];
    (nodes[0].weight, nodes[1].weight) = (u32::MAX, 0);
    balancer.set_nodes(nodes.to_vec(), now);
    let weights: Vec<u32> = balancer.nodes().iter().map(|node| node.weight()).collect();
    assert_eq!(weights, [1000, 1]);
    assert!(balancer.pick(&Caller { key: "x", ..Caller::default() }, now).is_ok());
}
