use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use http::Response;
use http_body::Body as _;

use super::{eviction::ESTABLISHED_REQUESTS, *};

const SECOND: Duration = Duration::from_secs(1);

fn connections(max_open: usize) -> Connections {
    let timeouts =
        ClientTimeouts { header_timeout: 10 * SECOND, send_timeout: 20 * SECOND, http2_idle_timeout: 60 * SECOND };
    Connections::new(max_open, timeouts)
}

impl Connections {
    fn at(&self, seconds: u32) {
        self.0.sweep(seconds * SECOND);
    }

    fn public(&self) -> Option<OpenConnection> {
        self.open(ListenerRole::Public, false)
    }

    fn is_open(&self, opened: &OpenConnection) -> bool {
        self.0.open().contains_key(&opened.0.id())
    }
}

/// Begins an HTTP/2 stream that has its task.
fn stream(opened: &OpenConnection) -> Arc<Exchange> {
    let exchange = opened.0.begin_stream();
    assert!(opened.0.take_pending_stream().is_some_and(|begun| Arc::ptr_eq(&begun, &exchange)));
    exchange
}

type Frame = Poll<Option<Result<http_body::Frame<bodies::Piece>, axum::Error>>>;

fn next(body: &mut OutgoingBody<Body>) -> Frame {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Returns a response whose first piece waits for the client.
fn waiting(exchange: &Arc<Exchange>, length: usize) -> (OutgoingBody<Body>, Frame) {
    let mut body = OutgoingBody::response(Response::new(Body::from(vec![0; length])), Arc::clone(exchange)).into_body();
    let piece = next(&mut body);
    (body, piece)
}

#[test]
fn at_the_cap_the_connection_idle_for_longest_is_evicted() {
    let connections = connections(3);
    let opened: Vec<OpenConnection> = (0..3)
        .map(|second| {
            connections.at(second);
            connections.public().expect("room")
        })
        .collect();
    connections.at(5);
    drop(opened[0].0.begin(&Cell::default()));
    let newcomer = connections.public().expect("room");
    assert!(!newcomer.0.kind().is_above_cap);
    let left: Vec<bool> = opened.iter().map(|opened| connections.is_open(opened)).collect();
    assert_eq!(left, [true, false, true]);
    assert_eq!(opened[1].0.shutdown(), Shutdown::Immediate);
}

#[test]
fn a_flood_of_new_connections_evicts_itself() {
    let connections = connections(10);
    let used = connections.public().expect("room");
    (0..ESTABLISHED_REQUESTS).for_each(|_| drop(used.0.begin(&Cell::default())));
    let flood: Vec<_> = (1..100)
        .map(|second| {
            connections.at(second);
            let opened = connections.public().expect("room");
            drop(opened.0.begin(&Cell::default()));
            opened
        })
        .collect();
    assert!(connections.is_open(&used));
    assert_eq!(flood.iter().filter(|opened| connections.is_open(opened)).count(), 9);
}

#[test]
fn a_busy_connection_is_not_evicted() {
    let connections = connections(2);
    let opened: Vec<OpenConnection> = (0..2).map(|_| connections.public().expect("room")).collect();
    let exchanges: Vec<_> = opened.iter().map(|opened| opened.0.begin(&Cell::default())).collect();
    let above: Vec<OpenConnection> = (0..4).map(|_| connections.public().expect("a reserved connection")).collect();
    assert!(above.iter().all(|above| above.0.kind().is_above_cap));
    // A connection that waits for its client is idle.
    exchanges[1].set_working(false);
    drop(above);
    assert!(!connections.public().expect("room").0.kind().is_above_cap);
    assert!(connections.is_open(&opened[0]) && !connections.is_open(&opened[1]));
}

#[test]
fn connections_are_reserved_for_operators() {
    let connections = connections(2);
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let opened = connections.public().expect("room");
            let exchange = opened.0.begin(&Cell::default());
            (opened, exchange)
        })
        .collect();
    busy.iter().for_each(|(opened, _)| opened.0.mark_privileged());
    assert!(connections.public().is_none() && connections.open(ListenerRole::Operators, false).is_none());
    drop(busy);
    let _public: Vec<_> = (0..2).map(|_| connections.public().expect("room")).collect();
    let operators: Vec<_> = (0..4).map(|_| connections.open(ListenerRole::Operators, false).expect("room")).collect();
    assert!(operators.iter().all(|operator| !operator.0.kind().is_above_cap));
}

#[test]
fn a_stalled_response_closes_its_connection() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let waiting = waiting(&exchange, 10);
    connections.at(20);
    assert_eq!(opened.0.shutdown(), Shutdown::None);
    connections.at(21);
    assert_eq!(opened.0.shutdown(), Shutdown::Immediate);
    drop(waiting);
}

#[test]
fn a_stalled_stream_is_cancelled_alone_while_it_has_a_task() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = stream(&opened);
    let waiting = waiting(&exchange, 10);
    let is_cancelled = || exchange.poll_cancelled(Waker::noop());
    connections.at(21);
    assert!(is_cancelled() && opened.0.shutdown() == Shutdown::None);
    // Without the task, only the connection can be closed.
    exchange.end_task();
    connections.at(22);
    assert_eq!(opened.0.shutdown(), Shutdown::Immediate);
    drop(waiting);
}

#[test]
fn the_send_timeout_applies_to_each_piece_of_a_response() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let (mut body, mut piece) = waiting(&exchange, 200_000);
    for second in [15, 30, 45] {
        connections.at(second);
        drop(piece);
        piece = next(&mut body);
    }
    connections.at(60);
    assert_eq!(opened.0.shutdown(), Shutdown::None);
    assert!(body.is_end_stream());
    connections.at(66);
    assert_eq!(opened.0.shutdown(), Shutdown::Immediate);
    drop(piece);
}

#[test]
fn only_connections_that_hold_too_much_are_rejected() {
    let connections = connections(100);
    let opened: Vec<OpenConnection> = (0..18).map(|_| connections.public().expect("room")).collect();
    let trusted = connections.open(ListenerRole::Public, true).expect("room");
    let exceeded = |opened: &OpenConnection| opened.0.exceeded();
    let fill = |opened: &OpenConnection, bytes| waiting(&stream(opened), bytes);
    let first = fill(&opened[0], (4 << 20) + 1);
    let of_many_clients = fill(&trusted, (4 << 20) + 1);
    assert_eq!((exceeded(&opened[0]), exceeded(&opened[1])), (Some(Bound::Unsent), None));
    assert_eq!(exceeded(&trusted), None, "a proxy speaks for many clients");
    let a_little = fill(&opened[16], 10);
    assert_eq!(exceeded(&opened[16]), None);
    let others: Vec<_> = opened[1..16].iter().map(|opened| fill(opened, 4 << 20)).collect();
    assert_eq!((exceeded(&opened[16]), exceeded(&opened[17])), (Some(Bound::Unsent), None));
    // All clients have exceeded the shortened timeout.
    connections.at(2);
    assert_eq!(connections.0.stalled.load(Ordering::Relaxed), 18);
    drop((first, of_many_clients, a_little, others));
    assert_eq!((exceeded(&opened[0]), connections.0.unsent.load(Ordering::Relaxed)), (None, 0));
    assert_eq!(connections.0.streams.load(Ordering::Relaxed), 0);
}

#[test]
fn shared_bodies_do_not_count_as_unsent() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let mut response = Response::new(Body::from(vec![0; 5 << 20]));
    response.extensions_mut().insert(SharedBody);
    let mut body = OutgoingBody::response(response, stream(&opened)).into_body();
    let piece = next(&mut body);
    assert_eq!((opened.0.exceeded(), connections.0.unsent.load(Ordering::Relaxed)), (None, 0));
    connections.at(21);
    assert_eq!(connections.0.stalled.load(Ordering::Relaxed), 1, "the send timeout applies to it too");
    drop((piece, body));
}

#[test]
fn above_the_stream_limit_only_a_fair_share_is_accepted() {
    let connections = connections(20);
    let [greedy, fair] = [0; 2].map(|_| connections.public().expect("room"));
    let mut streams: Vec<_> = (0..20).map(|_| stream(&greedy)).collect();
    assert_eq!(greedy.0.exceeded(), None);
    streams.push(stream(&greedy));
    let calm = stream(&fair);
    assert_eq!((greedy.0.exceeded(), fair.0.exceeded()), (Some(Bound::Streams), None));
    // The shortened timeout applies to request bodies too.
    streams.iter().for_each(|exchange| exchange.set_awaiting_body(true));
    connections.at(2);
    assert!(streams.iter().all(|exchange| exchange.poll_cancelled(Waker::noop())));
    assert!(!calm.poll_cancelled(Waker::noop()));
    streams.clear();
    assert_eq!(greedy.0.exceeded(), None);
}

#[test]
fn without_saturation_a_request_body_may_arrive_slowly() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = stream(&opened);
    exchange.set_awaiting_body(true);
    connections.at(1000);
    assert!(!exchange.poll_cancelled(Waker::noop()));
}

#[test]
fn an_operator_above_the_cap_is_not_evicted_for_others() {
    let connections = connections(100);
    let busy: Vec<_> = (0..100)
        .map(|_| {
            let opened = connections.public().expect("room");
            let exchange = opened.0.begin(&Cell::default());
            (opened, exchange)
        })
        .collect();
    let operator = connections.public().expect("a reserved connection");
    let strangers: Vec<_> = (0..5).map(|_| connections.public().expect("a reserved connection")).collect();
    assert!(connections.is_open(&operator), "its first request may be under way");
    // It is the oldest connection without a request, and would be the first to be evicted when all reserved ones are in use.
    operator.0.mark_privileged();
    let more: Vec<_> = (0..10).map(|_| connections.public().expect("one is evicted")).collect();
    assert!(connections.is_open(&operator) && !connections.is_open(&strangers[0]));
    drop((busy, more));
}

#[test]
fn after_the_response_has_begun_the_request_body_is_irrelevant() {
    let connections = connections(10);
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let waiting = waiting(&exchange, 10);
    exchange.set_awaiting_body(false);
    assert!(opened.0.is_idle(), "a late part of the request body does not matter");
    drop(waiting);
    let (sender, body) = late_body();
    let mut body = OutgoingBody::response(Response::new(body), opened.0.begin(&Cell::default())).into_body();
    assert!(next(&mut body).is_pending() && !opened.0.is_idle(), "the client waits for the process");
    drop(sender);
}

/// Returns a body whose first frame is pending.
fn late_body() -> (tokio::sync::oneshot::Sender<()>, Body) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let stream = futures_util::stream::once(async move {
        let _ = receiver.await;
        Ok::<_, std::convert::Infallible>("late")
    });
    (sender, Body::from_stream(stream))
}

#[test]
fn an_unused_http2_connection_is_closed() {
    let connections = connections(9);
    let [used, unused, http1] = [0; 3].map(|_| connections.public().expect("room"));
    let exchange = stream(&used);
    drop((stream(&unused), http1.0.begin(&Cell::default())));
    let shutdowns = || [&used, &unused, &http1].map(|opened| opened.0.shutdown());
    connections.at(60);
    assert_eq!(shutdowns(), [Shutdown::None; 3]);
    connections.at(61);
    assert_eq!(shutdowns(), [Shutdown::None, Shutdown::Graceful, Shutdown::None]);
    connections.at(71);
    assert_eq!(shutdowns(), [Shutdown::None, Shutdown::Immediate, Shutdown::None]);
    drop(exchange);
}

/// Returns the order in which 64 concurrent streams of one connection, and then one of another connection, are processed.
async fn order(is_trusted: bool) -> Vec<usize> {
    const STREAMS: usize = 64;
    let connections = connections(10);
    let begun = Arc::new(std::sync::Mutex::new(Vec::new()));
    let spawn = |opened: &OpenConnection, number| {
        let (exchange, begun) = (opened.0.begin_stream(), Arc::clone(&begun));
        let stream = async move {
            begun.lock().expect("no panic").push(number);
            drop(exchange);
        };
        hyper::rt::Executor::execute(&StreamExecutor(Arc::clone(&opened.0)), stream);
    };
    let many = connections.open(ListenerRole::Public, is_trusted).expect("room");
    let one = connections.public().expect("room");
    (0..STREAMS).for_each(|number| spawn(&many, number));
    spawn(&one, STREAMS);
    while begun.lock().expect("no panic").len() <= STREAMS {
        tokio::task::yield_now().await;
    }
    begun.lock().expect("no panic").clone()
}

#[tokio::test]
async fn streams_of_one_connection_do_not_starve_others() {
    let order = order(false).await;
    let position = order.iter().position(|&number| number == 64).expect("begun");
    assert!(position <= 8, "after {position} of 64 streams: {order:?}");
}

#[tokio::test]
async fn streams_of_a_trusted_proxy_are_not_limited() {
    assert_eq!(order(true).await, (0..=64).collect::<Vec<_>>());
}

#[test]
fn a_response_has_its_time_even_if_the_last_sweep_was_long_ago() {
    let mut connections = connections(3);
    // The last sweep was 30 seconds ago, when the process began.
    Arc::get_mut(&mut connections.0).expect("not shared yet").started -= 30 * SECOND;
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let _response = waiting(&exchange, 10);
    connections.at(45);
    assert_eq!(opened.0.shutdown(), Shutdown::None);
    connections.at(51);
    assert_eq!(opened.0.shutdown(), Shutdown::Immediate);
}
