//! What picking a node costs, and recording how the request went, beside tower's `PeakEwma` and a locked round robin.
//!
//! Every contender picks one of the same number of nodes. With two threads, both work on the same balancer all the time,
//! and the figure is the time that one of them spends on one operation.

use std::{
    sync::{
        Arc, Barrier, Mutex, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use symbolon_balancer::{Algorithm, Balancer, Caller, NodeSpec, Outcome, Policy};
use tower::{
    Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PeakEwma},
};

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

fn balancer(algorithm: Algorithm, nodes: usize) -> Balancer {
    let now = Instant::now();
    let balancer = Balancer::new(algorithm, Policy::default(), now);
    balancer.set_nodes(specs(nodes), now);
    for node in balancer.nodes() {
        node.lease(now).end(Outcome::Success, now + Duration::from_millis(5));
    }
    balancer
}

/// How many operations are timed in one go.
const CHUNK: u64 = 64;

/// Has so many threads do `work` that often each, at the same time; the mean of what each took. What the work returns is
/// dropped between the chunks that are timed.
fn on_threads<T>(threads: usize, times: u64, work: impl Fn() -> T + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let run = || {
        let mut held = Vec::with_capacity(CHUNK as usize);
        let (mut left, mut took) = (times, Duration::ZERO);
        barrier.wait();
        while left > 0 {
            let chunk = left.min(CHUNK);
            let begun = Instant::now();
            (0..chunk).for_each(|_| held.push(work()));
            took += begun.elapsed();
            held.clear();
            left -= chunk;
        }
        took
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let total: Duration = running.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        total / threads as u32
    })
}

/// A service that answers at once.
#[derive(Clone)]
struct Answer;

impl Service<()> for Answer {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

/// What tower does for a request: two random choices by load, then the request itself, and its completion. A `Balance`
/// is one task's own; threads share it behind a lock, as its own `Buffer` would have them do by a queue.
fn tower_request<D>(balance: &Mutex<Balance<D, ()>>)
where
    D: tower::discover::Discover + Unpin,
    D::Key: Clone + std::hash::Hash,
    D::Error: Into<tower::BoxError>,
    D::Service: Service<(), Response = ()> + tower::load::Load,
    <D::Service as tower::load::Load>::Metric: std::fmt::Debug,
    <D::Service as Service<()>>::Error: Into<tower::BoxError>,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut balance = balance.lock().expect("no panic");
    assert!(balance.poll_ready(&mut context).is_ready());
    let mut answer = std::pin::pin!(balance.call(()));
    assert!(answer.as_mut().poll(&mut context).is_ready());
}

fn tower_balance(
    nodes: usize,
) -> Mutex<
    Balance<
        impl tower::discover::Discover<Key = usize, Service = PeakEwma<Answer>, Error = std::convert::Infallible> + Unpin,
        (),
    >,
> {
    let service = |_| PeakEwma::new(Answer, Duration::from_millis(5), 10e9, CompleteOnResponse::default());
    Mutex::new(Balance::new(ServiceList::new((0..nodes).map(service).collect::<Vec<_>>())))
}

fn balancers(criterion: &mut Criterion) {
    for threads in [1, 2] {
        for nodes in [4, 16, 100] {
            let mut group = criterion.benchmark_group(format!("balancer/{nodes} nodes, {threads} thread(s)"));
            let caller = Caller { key: "018f0000-0000-7000-8000-000000000000", ..Caller::default() };
            for &algorithm in Algorithm::ALL {
                let balancer = balancer(algorithm, nodes);
                group.bench_function(BenchmarkId::new("pick", algorithm), |bencher| {
                    let now = Instant::now();
                    bencher.iter_custom(|times| on_threads(threads, times, || balancer.pick(&caller, now)));
                });
                group.bench_function(BenchmarkId::new("pick + record", algorithm), |bencher| {
                    bencher.iter_custom(|times| {
                        on_threads(threads, times, || {
                            let lease = balancer.pick(&caller, Instant::now()).expect("a node");
                            lease.end(Outcome::Success, Instant::now());
                        })
                    });
                });
            }
            let balance = tower_balance(nodes);
            group.bench_function(BenchmarkId::new("pick + record", "tower PeakEwma"), |bencher| {
                bencher.iter_custom(|times| on_threads(threads, times, || tower_request(&balance)));
            });
            let (list, turn) =
                (RwLock::new((0..nodes).map(|_| Arc::new(Answer)).collect::<Vec<_>>()), AtomicUsize::new(0));
            group.bench_function(BenchmarkId::new("pick", "RwLock<Vec> round robin"), |bencher| {
                bencher.iter_custom(|times| {
                    on_threads(threads, times, || {
                        let list = list.read().expect("no panic");
                        Arc::clone(&list[turn.fetch_add(1, Ordering::Relaxed) % list.len()])
                    })
                });
            });
            group.finish();
        }
    }
}

/// What an update of the nodes costs its caller while picks go on.
fn changes(criterion: &mut Criterion) {
    const NODES: usize = 10_000;
    let mut group = criterion.benchmark_group(format!("balancer/change among {NODES} nodes"));
    for algorithm in [Algorithm::RoundRobin, Algorithm::PeakEwma, Algorithm::Geographic, Algorithm::Hash] {
        let balancer = balancer(algorithm, NODES);
        let now = Instant::now();
        let mut healthy = true;
        group.bench_function(BenchmarkId::new("one goes down or comes back", algorithm), |bencher| {
            bencher.iter(|| {
                healthy = !healthy;
                balancer.set_healthy("node-17", healthy, now);
            });
        });
        let mut more = 0;
        group.bench_function(BenchmarkId::new("one is added or removed", algorithm), |bencher| {
            bencher.iter_batched(
                || {
                    more = 1 - more;
                    specs(NODES + more)
                },
                |specs| balancer.set_nodes(specs, now),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, balancers, changes);
criterion_main!(benches);
