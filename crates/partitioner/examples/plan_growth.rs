//! Prints the share of keys that moves when a cluster grows one node at a time, for the ring and for plain hashing.
//!
//! `cargo run -p symbolon-partitioner --example plan_growth -- 8` grows to 8 nodes.

use symbolon_partitioner::{Partitioner, PartitionerSpec, Strategy, plan};

fn partitioner(strategy: Strategy, nodes: usize) -> Result<Partitioner, Box<dyn std::error::Error>> {
    let ids = (0..nodes).map(|node| format!("db-{node}"));
    Ok(Partitioner::new(&PartitionerSpec::new(strategy, ids))?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let last: usize = std::env::args().nth(1).map_or(Ok(6), |count| count.parse())?;
    println!("{:>12}{:>18}{:>10}{:>14}", "nodes", "consistent_hash", "hash", "largest share");
    for nodes in 1..last {
        let moved = |strategy| -> Result<f64, Box<dyn std::error::Error>> {
            Ok(100.0 * plan(&partitioner(strategy, nodes)?, &partitioner(strategy, nodes + 1)?)?.moved_share)
        };
        let shares = partitioner(Strategy::ConsistentHash, nodes + 1)?;
        let largest = shares.shares().into_iter().flatten().map(|(_, share)| share).fold(0.0, f64::max);
        println!(
            "{:>12}{:>16.1} %{:>8.1} %{:>12.1} %",
            format!("{nodes} to {}", nodes + 1),
            moved(Strategy::ConsistentHash)?,
            moved(Strategy::Hash)?,
            100.0 * largest
        );
    }
    Ok(())
}
