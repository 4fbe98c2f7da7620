//! What lookups cost, alone and concurrently, beside the same query without a batcher. The query itself costs nothing.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{convert::Infallible, sync::Arc, time::Duration};
use symbolon_batcher::{BatchLimits, BatchTiming, Batcher};
use tokio::{runtime::Builder, task::JoinSet};

async fn query(keys: Vec<u64>) -> Result<Vec<(u64, u64)>, Infallible> {
    Ok(keys.into_iter().map(|key| (key, key)).collect())
}

fn lookups(c: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    let limits = BatchLimits { max_in_flight: 2, max_keys: 64 };
    let timing = BatchTiming { timeout: Duration::from_secs(5), yields: 1 };
    let batcher: Arc<Batcher<u64, u64, Infallible>> = Arc::new(Batcher::new(limits, timing));
    let mut group = c.benchmark_group("lookups");
    for concurrent in [1u64, 16, 256] {
        group.throughput(Throughput::Elements(concurrent));
        group.bench_function(BenchmarkId::new("symbolon", concurrent), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for key in 0..concurrent {
                        let batcher = Arc::clone(&batcher);
                        tasks.spawn(async move { batcher.find(key, |keys, _| query(keys)).await });
                    }
                    tasks.join_all().await
                })
            });
        });
        group.bench_function(BenchmarkId::new("a task for each query", concurrent), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for key in 0..concurrent {
                        tasks.spawn(query(vec![key]));
                    }
                    tasks.join_all().await
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
