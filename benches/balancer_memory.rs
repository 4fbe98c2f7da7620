//! What the balancer takes in memory, and what a change of its nodes allocates.

use std::time::Instant;

use symbolon_balancer::{Algorithm, Balancer, NodeSpec, Policy};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const NODES: usize = 10_000;

fn specs(count: usize) -> Vec<NodeSpec> {
    let spec = |number| NodeSpec {
        id: format!("node-{number}"),
        url: format!("http://node-{number}"),
        weight: 1,
        max_connections: 1000,
        region: "default".into(),
        zone: "default".into(),
    };
    (0..count).map(spec).collect()
}

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!("{NODES} nodes, bytes a node{:>20}{:>24}", "at rest", "allocated by a change");
    for &algorithm in Algorithm::ALL {
        let (now, before) = (Instant::now(), dhat::HeapStats::get().curr_bytes);
        let balancer = Balancer::new(algorithm, Policy::default(), now);
        balancer.set_nodes(specs(NODES), now);
        let at_rest = dhat::HeapStats::get().curr_bytes - before;
        let before = dhat::HeapStats::get().total_bytes;
        balancer.set_healthy("node-17", false, now);
        let by_change = (dhat::HeapStats::get().total_bytes - before) as usize;
        println!("{algorithm:<26}{:>20}{:>24}", at_rest / NODES, by_change / NODES);
    }
}
