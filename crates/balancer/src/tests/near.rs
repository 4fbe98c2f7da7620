//! Zones and regions.

use super::*;

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
fn requests_beyond_the_capacity_of_a_zone_spill_over() {
    let places = [("eu", "a"), ("eu", "a"), ("eu", "b"), ("eu", "b"), ("us", "a")];
    let (balancer, now) = balancer(Algorithm::Geographic, Policy::default(), placed(&places));
    let caller = Caller { region: "eu", zone: "a", ..Caller::default() };
    balancer.set_healthy("node-0", false, now);
    let shares = shares(&balancer, &caller, now, 1000);
    let spilled = shares["node-2"] + shares["node-3"];
    // Half of the zone is trusted with 70 % of its requests. The rest goes to the whole region, which includes the zone.
    assert!((120..280).contains(&spilled), "{shares:?}");
    let held: Vec<Lease> = (0..200).map(|_| balancer.pick(&caller, now).expect("a node")).collect();
    let full = held.iter().filter(|lease| id(lease) == "node-1").count();
    assert!(full <= 70, "{full} in flight on the node that is left");
}
