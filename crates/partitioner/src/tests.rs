use std::collections::BTreeMap;

use proptest::{prelude::ProptestConfig, prelude::any, prop_assert, prop_assert_eq, proptest, sample::Index};

use super::*;

fn build(spec: &PartitionerSpec) -> Partitioner {
    Partitioner::new(spec).expect("a valid spec")
}

fn ring_of(weights: &[u32]) -> PartitionerSpec {
    let mut spec = PartitionerSpec::new(Strategy::ConsistentHash, (0..weights.len()).map(|i| format!("db-node-{i}")));
    for (node, weight) in spec.nodes.iter_mut().zip(weights) {
        node.weight = *weight;
    }
    spec
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("user-{i}")).collect()
}

#[test]
fn every_reference_placement_is_reproduced() {
    let csv = include_str!("../tests/reference/placements.csv");
    let mut partitioners = BTreeMap::new();
    let mut rows = 0;
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [strategy, nodes, key, partition_id, node_id] = fields[..] else { panic!("not a placement: {line}") };
        let partitioner = partitioners
            .entry((strategy, nodes))
            .or_insert_with(|| build(&PartitionerSpec::new(strategy.parse().expect("a strategy"), nodes.split(';'))));
        let partition = partitioner.partition(key);
        assert_eq!((partition.partition_id.to_string().as_str(), partition.node_id), (partition_id, node_id), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 377);
}

#[test]
fn the_empty_key_is_in_the_first_range() {
    let partitioner = build(&PartitionerSpec::new(Strategy::Range, ["a", "b", "c"]));
    assert_eq!(partitioner.partition("").partition_id, PartitionId::Range(0));
}

#[test]
fn a_split_point_is_the_first_key_of_its_range() {
    let mut spec = PartitionerSpec::new(Strategy::Range, ["low", "middle", "high"]);
    spec.splits = vec!["g".into(), "p".into()];
    let partitioner = build(&spec);
    let nodes: Vec<&str> =
        ["", "fz", "g", "oz", "p", "é"].iter().map(|key| partitioner.partition(key).node_id).collect();
    assert_eq!(nodes, ["low", "low", "middle", "middle", "high", "high"]);
}

#[test]
fn a_pin_overrides_the_ring_for_its_key_only() {
    let ring = build(&ring_of(&[1, 1, 1]));
    let mut spec = ring_of(&[1, 1, 1]);
    spec.strategy = Strategy::Directory;
    let pinned_to = if ring.partition("heavy").node_id == "db-node-2" { "db-node-1" } else { "db-node-2" };
    spec.pins.insert("heavy".into(), pinned_to.into());
    let directory = build(&spec);
    assert_eq!(directory.partition("heavy").node_id, pinned_to);
    assert_eq!(directory.partition("heavy").partition_id.to_string(), format!("pin_{pinned_to}"));
    for key in keys(1000) {
        assert_eq!(directory.partition(&key), ring.partition(&key));
    }
}

#[test]
fn invalid_specs_are_rejected() {
    let nodes = |strategy| PartitionerSpec::new(strategy, ["a", "b"]);
    let rejection = |spec: PartitionerSpec| Partitioner::new(&spec).expect_err("an error");
    assert_eq!(rejection(PartitionerSpec::new::<String>(Strategy::Hash, [])), SpecError::NoNodes);
    assert_eq!(rejection(PartitionerSpec::new(Strategy::Hash, ["a", ""])), SpecError::EmptyNodeId);
    assert_eq!(rejection(PartitionerSpec::new(Strategy::Hash, ["a", "a"])), SpecError::DuplicateNode("a".into()));
    assert_eq!(rejection(ring_of(&[1, 0])), SpecError::Weight { node: "db-node-1".into(), weight: 0 });
    assert_eq!(rejection(ring_of(&[1001])), SpecError::Weight { node: "db-node-0".into(), weight: 1001 });
    let mut weighted = nodes(Strategy::Hash);
    weighted.nodes[1].weight = 2;
    assert_eq!(rejection(weighted), SpecError::WeightWithoutRing { node: "b".into(), strategy: Strategy::Hash });
    let with_splits = |strategy, splits: &[&str]| PartitionerSpec {
        splits: splits.iter().map(|&split| split.to_owned()).collect(),
        ..PartitionerSpec::new(strategy, ["a", "b", "c"])
    };
    assert_eq!(rejection(with_splits(Strategy::Hash, &["x"])), SpecError::SplitsWithoutRange(Strategy::Hash));
    assert_eq!(rejection(with_splits(Strategy::Range, &["x"])), SpecError::SplitCount { nodes: 3, splits: 1 });
    assert_eq!(rejection(with_splits(Strategy::Range, &["x", "x"])), SpecError::SplitOrder("x".into()));
    let with_pin = |strategy, node: &str| PartitionerSpec {
        pins: BTreeMap::from([("key".to_owned(), node.to_owned())]),
        ..nodes(strategy)
    };
    assert_eq!(rejection(with_pin(Strategy::Hash, "a")), SpecError::PinsWithoutDirectory(Strategy::Hash));
    assert_eq!(rejection(with_pin(Strategy::Directory, "z")), SpecError::UnknownNode("z".into()));
}

#[test]
fn shares_follow_the_weights() {
    let partitioner = build(&ring_of(&[1, 2, 4]));
    let shares = partitioner.shares().expect("a ring has shares");
    for ((_, share), expected) in shares.iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert!((share - expected).abs() < 0.25 * expected, "{shares:?}");
    }
    assert!((shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn a_plan_between_hash_layouts_is_exact() {
    let (old, new) =
        (PartitionerSpec::new(Strategy::Hash, ["a", "b"]), PartitionerSpec::new(Strategy::Hash, ["a", "b", "c"]));
    let plan = plan(&build(&old), &build(&new)).expect("a plan");
    assert!((plan.moved_share - 4.0 / 6.0).abs() < 1e-12, "{plan:?}");
}

#[test]
fn a_plan_between_numeric_ranges_is_exact() {
    let (old, new) = (
        PartitionerSpec::new(Strategy::Range, ["a", "b"]),
        PartitionerSpec::new(Strategy::Range, ["a", "b", "c", "d"]),
    );
    let plan = plan(&build(&old), &build(&new)).expect("a plan");
    let moves: Vec<_> = plan.moves.iter().map(|step| (step.from.as_str(), step.to.as_str(), step.share)).collect();
    assert_eq!(moves, [("a", "b", 0.25), ("b", "c", 0.25), ("b", "d", 0.25)]);
}

#[test]
fn a_plan_lists_pinned_keys_that_move() {
    let old = ring_of(&[1, 1]);
    let owner = build(&old).partition("vip").node_id.to_owned();
    let other = if owner == "db-node-0" { "db-node-1" } else { "db-node-0" };
    let mut new = old.clone();
    new.strategy = Strategy::Directory;
    new.pins.insert("vip".into(), other.into());
    let plan = plan(&build(&old), &build(&new)).expect("a plan");
    assert_eq!(plan.pinned, [KeyMove { key: "vip".into(), from: owner, to: other.into() }]);
    assert_eq!(plan.moves, []);
}

#[test]
fn a_plan_for_different_split_points_depends_on_the_keys() {
    let mut split = PartitionerSpec::new(Strategy::Range, ["a", "b"]);
    split.splits = vec!["m".into()];
    assert_eq!(plan(&build(&split), &build(&ring_of(&[1, 1]))), Err(PlanError::DependsOnKeys));
    assert_eq!(plan(&build(&split), &build(&split)).expect("a plan").moved_share, 0.0);
}

fn weights() -> impl proptest::strategy::Strategy<Value = Vec<u32>> {
    proptest::collection::vec(1u32..4, 2..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn adding_a_node_moves_its_share_of_keys_and_only_to_it(weights in weights(), added in 1u32..4) {
        let old = build(&ring_of(&weights));
        let mut grown = weights.clone();
        grown.push(added);
        let new = build(&ring_of(&grown));
        let added_id = format!("db-node-{}", weights.len());
        let sample = keys(2000);
        let moved = sample.iter().filter(|key| old.partition(key).node_id != new.partition(key).node_id);
        for key in moved.clone() {
            prop_assert_eq!(new.partition(key).node_id, added_id.as_str());
        }
        let ideal = f64::from(added) / f64::from(grown.iter().sum::<u32>());
        let share = moved.count() as f64 / sample.len() as f64;
        prop_assert!((0.55 * ideal..1.6 * ideal).contains(&share), "moved {share}, ideal {ideal}");
    }

    #[test]
    fn removing_a_node_moves_only_its_own_keys(weights in weights(), pick in any::<Index>()) {
        let old_spec = ring_of(&weights);
        let mut new_spec = old_spec.clone();
        let removed = new_spec.nodes.remove(pick.index(weights.len())).id;
        let (old, new) = (build(&old_spec), build(&new_spec));
        for key in keys(500) {
            let before = old.partition(&key).node_id;
            prop_assert!(before == removed || before == new.partition(&key).node_id);
        }
    }

    #[test]
    fn load_is_balanced_by_weight(weights in weights()) {
        let partitioner = build(&ring_of(&weights));
        let total = f64::from(weights.iter().sum::<u32>());
        for ((node, share), weight) in partitioner.shares().expect("a ring has shares").into_iter().zip(&weights) {
            let ideal = f64::from(*weight) / total;
            prop_assert!((0.6 * ideal..1.5 * ideal).contains(&share), "{node} has {share} instead of {ideal}");
        }
    }

    #[test]
    fn ring_placement_does_not_depend_on_node_order(weights in weights(), key in ".*") {
        let spec = ring_of(&weights);
        let mut reversed = spec.clone();
        reversed.nodes.reverse();
        let (a, b) = (build(&spec), build(&reversed));
        prop_assert_eq!(a.partition(&key), b.partition(&key));
        let again = build(&spec);
        prop_assert_eq!(again.partition(&key), a.partition(&key));
    }

    #[test]
    fn a_plan_agrees_with_counted_keys(old in weights(), new in weights()) {
        let (old, new) = (build(&ring_of(&old)), build(&ring_of(&new)));
        let plan = plan(&old, &new).expect("rings have a plan");
        let sample = keys(4000);
        let mut counted = BTreeMap::<(&str, &str), f64>::new();
        for key in &sample {
            let (from, to) = (old.partition(key).node_id, new.partition(key).node_id);
            if from != to {
                *counted.entry((from, to)).or_default() += 1.0 / sample.len() as f64;
            }
        }
        let planned: BTreeMap<(&str, &str), f64> =
            plan.moves.iter().map(|step| ((step.from.as_str(), step.to.as_str()), step.share)).collect();
        for pair in counted.keys().chain(planned.keys()) {
            let (counted, planned) = (counted.get(pair).copied().unwrap_or(0.0), planned.get(pair).copied().unwrap_or(0.0));
            prop_assert!((counted - planned).abs() < 0.035, "{pair:?}: counted {counted}, planned {planned}");
        }
    }

    #[test]
    fn every_strategy_answers_for_every_key(key in ".*", nodes in 1usize..12) {
        for &strategy in Strategy::ALL {
            let partitioner = build(&PartitionerSpec::new(strategy, (0..nodes).map(|i| format!("n{i}"))));
            let partition = partitioner.partition(&key);
            prop_assert_eq!(&partitioner.nodes()[partitioner.owner_index(&key)].id, partition.node_id);
        }
    }
}
