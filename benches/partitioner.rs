//! What one lookup costs beside the MD5 in it, and beside other rings: 3 and 30 nodes, 100 virtual nodes each.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashring::HashRing;
use md5::{Digest, Md5};
use pingora_ketama::{Bucket, Continuum};
use symbolon_partitioner::{Partitioner, PartitionerSpec, Strategy, plan};

/// User ids as the service places them: 36 characters.
fn keys() -> Vec<String> {
    (0..1024u64)
        .map(|i| format!("01938d5e-7b2a-7c41-9f0e-{:012x}", i.wrapping_mul(0x9e37_79b9_7f4a) & 0xffff_ffff_ffff))
        .collect()
}

fn names(nodes: usize) -> Vec<String> {
    (0..nodes).map(|node| format!("db-node-{node}")).collect()
}

fn partitioner(nodes: usize, strategy: Strategy) -> Partitioner {
    Partitioner::new(&PartitionerSpec::new(strategy, names(nodes))).expect("a valid spec")
}

fn lookups(c: &mut Criterion) {
    let keys = keys();
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("bare MD5", |b| {
        b.iter(|| {
            keys.iter()
                .map(|key| u128::from_be_bytes(Md5::digest(black_box(key).as_bytes()).into()))
                .fold(0, u128::wrapping_add)
        });
    });
    for nodes in [3, 30] {
        for strategy in [Strategy::ConsistentHash, Strategy::Hash] {
            let partitioner = partitioner(nodes, strategy);
            group.bench_function(BenchmarkId::new(format!("symbolon {strategy}"), nodes), |b| {
                b.iter(|| keys.iter().map(|key| partitioner.owner_index(black_box(key))).sum::<usize>());
            });
        }
        // hashring places each member once; 100 members a node make it the same ring size.
        let mut hashring = HashRing::new();
        for (node, name) in names(nodes).iter().enumerate() {
            for virtual_node in 0..100 {
                hashring.add((node, format!("{name}:{virtual_node}")));
            }
        }
        group.bench_function(BenchmarkId::new("hashring", nodes), |b| {
            b.iter(|| keys.iter().map(|key| hashring.get(black_box(key)).map_or(0, |(node, _)| *node)).sum::<usize>());
        });
        let buckets: Vec<Bucket> =
            (0..nodes).map(|node| Bucket::new(([10, 0, 0, node as u8], 5432).into(), 1)).collect();
        let continuum = Continuum::new(&buckets);
        group.bench_function(BenchmarkId::new("pingora-ketama", nodes), |b| {
            b.iter(|| {
                keys.iter()
                    .filter_map(|key| continuum.node(black_box(key).as_bytes()))
                    .map(|at| u64::from(at.port()))
                    .sum::<u64>()
            });
        });
    }
    group.finish();
}

fn changes(c: &mut Criterion) {
    let mut group = c.benchmark_group("change");
    group.bench_function("build a ring of 30 nodes", |b| {
        b.iter(|| partitioner(black_box(30), Strategy::ConsistentHash))
    });
    let (old, new) = (partitioner(30, Strategy::ConsistentHash), partitioner(31, Strategy::ConsistentHash));
    group.bench_function("plan from 30 to 31 nodes", |b| b.iter(|| plan(black_box(&old), black_box(&new))));
    group.finish();
}

criterion_group!(benches, lookups, changes);
criterion_main!(benches);
