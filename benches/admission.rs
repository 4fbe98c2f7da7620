//! What a permit costs, beside one of Tokio's semaphore and a request through tower's concurrency limit.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use symbolon_admission::{Gate, GatePolicy, Kind};
use tokio::{runtime::Runtime, sync::Semaphore};
use tower::{Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

const LIMIT: usize = 1000;

fn permits(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = c.benchmark_group("permit");
    let gate = Gate::new(GatePolicy::new(LIMIT as u32, LIMIT as u32));
    let mut client = 0u32;
    for bulkhead in [None, Some("db-node-1")] {
        let name = if bulkhead.is_some() { "symbolon, with a bulkhead" } else { "symbolon" };
        group.bench_function(name, |b| {
            b.iter(|| {
                client = client.wrapping_add(1);
                let permit = runtime.block_on(gate.admit(black_box(bulkhead), Kind::Read, client)).expect("a permit");
                permit.mark_served();
            });
        });
    }
    let semaphore = Arc::new(Semaphore::new(LIMIT));
    group.bench_function("tokio's semaphore", |b| {
        b.iter(|| runtime.block_on(Arc::clone(&semaphore).acquire_owned()).expect("a permit"));
    });
    let mut limited = ConcurrencyLimit::new(service_fn(async |()| Ok::<_, std::convert::Infallible>(())), LIMIT);
    group.bench_function("tower's concurrency limit", |b| {
        b.iter(|| runtime.block_on(async { limited.ready().await.expect("ready").call(()).await }));
    });
    group.finish();
}

criterion_group!(benches, permits);
criterion_main!(benches);
