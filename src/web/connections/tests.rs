use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use http::Response;
use http_body::Body as _;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn connections(max_open: usize) -> Connections {
    let patience = Patience { header_timeout: 10 * SECOND, send_timeout: 20 * SECOND, http2_idle_timeout: 60 * SECOND };
    Connections::new(max_open, patience)
}

impl Connections {
    fn at(&self, seconds: u32) {
        self.0.sweep(seconds * SECOND);
    }

    fn public(&self) -> Option<Opened> {
        self.open(Surface::Public, false)
    }

    fn is_open(&self, opened: &Opened) -> bool {
        self.0.open().contains_key(&opened.0.id())
    }
}

/// A stream of an HTTP/2 connection that has its task.
fn stream(opened: &Opened) -> Arc<Exchange> {
    let exchange = opened.0.begin_stream();
    assert!(opened.0.take_begun().is_some_and(|begun| Arc::ptr_eq(&begun, &exchange)));
    exchange
}

type Frame = Poll<Option<Result<http_body::Frame<bodies::Piece>, axum::Error>>>;

fn next(body: &mut Outgoing<Body>) -> Frame {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// A response of which the first piece waits for its client.
fn waiting(exchange: &Arc<Exchange>, length: usize) -> (Outgoing<Body>, Frame) {
    let mut body = Outgoing::response(Response::new(Body::from(vec![0; length])), Arc::clone(exchange)).into_body();
    let piece = next(&mut body);
    (body, piece)
}

#[test]
fn at_the_cap_the_connection_that_was_idle_longest_gives_way() {
    let connections = connections(3);
    let opened: Vec<Opened> = (0..3)
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
    assert_eq!(opened[1].0.ending(), Ending::AtOnce);
}

#[test]
fn a_flood_of_new_connections_displaces_itself() {
    let connections = connections(10);
    let used = connections.public().expect("room");
    (0..ESTABLISHED).for_each(|_| drop(used.0.begin(&Cell::default())));
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
fn a_connection_that_is_worked_on_does_not_give_way() {
    let connections = connections(2);
    let opened: Vec<Opened> = (0..2).map(|_| connections.public().expect("room")).collect();
    let exchanges: Vec<_> = opened.iter().map(|opened| opened.0.begin(&Cell::default())).collect();
    let above: Vec<Opened> = (0..4).map(|_| connections.public().expect("room that is kept")).collect();
    assert!(above.iter().all(|above| above.0.kind().is_above_cap));
    // One that waits for its client is idle.
    exchanges[1].set_working(false);
    drop(above);
    assert!(!connections.public().expect("room").0.kind().is_above_cap);
    assert!(connections.is_open(&opened[0]) && !connections.is_open(&opened[1]));
}

#[test]
fn operators_have_room_that_others_do_not() {
    let connections = connections(2);
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let opened = connections.public().expect("room");
            let exchange = opened.0.begin(&Cell::default());
            (opened, exchange)
        })
        .collect();
    busy.iter().for_each(|(opened, _)| opened.0.prove());
    assert!(connections.public().is_none() && connections.open(Surface::Operators, false).is_none());
    drop(busy);
    let _public: Vec<_> = (0..2).map(|_| connections.public().expect("room")).collect();
    let operators: Vec<_> = (0..4).map(|_| connections.open(Surface::Operators, false).expect("room")).collect();
    assert!(operators.iter().all(|operator| !operator.0.kind().is_above_cap));
}

#[test]
fn a_response_that_waits_too_long_ends_its_connection() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let waiting = waiting(&exchange, 10);
    connections.at(20);
    assert_eq!(opened.0.ending(), Ending::No);
    connections.at(21);
    assert_eq!(opened.0.ending(), Ending::AtOnce);
    drop(waiting);
}

#[test]
fn a_stream_that_waits_too_long_ends_alone_while_it_has_a_task() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = stream(&opened);
    let waiting = waiting(&exchange, 10);
    let is_cancelled = || exchange.poll_cancelled(Waker::noop());
    connections.at(21);
    assert!(is_cancelled() && opened.0.ending() == Ending::No);
    // The rest of it is in the connection's hands.
    exchange.end_task();
    connections.at(22);
    assert_eq!(opened.0.ending(), Ending::AtOnce);
    drop(waiting);
}

#[test]
fn a_large_response_goes_out_in_pieces_and_each_has_its_time() {
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
    assert_eq!(opened.0.ending(), Ending::No);
    assert!(body.is_end_stream());
    connections.at(66);
    assert_eq!(opened.0.ending(), Ending::AtOnce);
    drop(piece);
}

#[test]
fn who_holds_too_much_is_refused_and_nobody_else() {
    let connections = connections(100);
    let opened: Vec<Opened> = (0..18).map(|_| connections.public().expect("room")).collect();
    let trusted = connections.open(Surface::Public, true).expect("room");
    let exceeded = |opened: &Opened| opened.0.exceeded();
    let fill = |opened: &Opened, bytes| waiting(&stream(opened), bytes);
    let first = fill(&opened[0], (4 << 20) + 1);
    let of_many_clients = fill(&trusted, (4 << 20) + 1);
    assert_eq!((exceeded(&opened[0]), exceeded(&opened[1])), (Some(Bound::Unsent), None));
    assert_eq!(exceeded(&trusted), None, "a proxy speaks for many clients");
    let a_little = fill(&opened[16], 10);
    assert_eq!(exceeded(&opened[16]), None);
    let others: Vec<_> = opened[1..16].iter().map(|opened| fill(opened, 4 << 20)).collect();
    assert_eq!((exceeded(&opened[16]), exceeded(&opened[17])), (Some(Bound::Unsent), None));
    // Nobody's client is waited for any longer.
    connections.at(2);
    assert_eq!(connections.0.stalled.load(Ordering::Relaxed), 18);
    drop((first, of_many_clients, a_little, others));
    assert_eq!((exceeded(&opened[0]), connections.0.unsent.load(Ordering::Relaxed)), (None, 0));
    assert_eq!(connections.0.streams.load(Ordering::Relaxed), 0);
}

#[test]
fn a_body_that_all_responses_share_is_not_held() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let mut response = Response::new(Body::from(vec![0; 5 << 20]));
    response.extensions_mut().insert(SharedBody);
    let mut body = Outgoing::response(response, stream(&opened)).into_body();
    let piece = next(&mut body);
    assert_eq!((opened.0.exceeded(), connections.0.unsent.load(Ordering::Relaxed)), (None, 0));
    connections.at(21);
    assert_eq!(connections.0.stalled.load(Ordering::Relaxed), 1, "but its client is not waited for any longer");
    drop((piece, body));
}

#[test]
fn more_streams_than_a_fair_share_are_refused_where_there_are_too_many() {
    let connections = connections(20);
    let [greedy, fair] = [0; 2].map(|_| connections.public().expect("room"));
    let mut streams: Vec<_> = (0..20).map(|_| stream(&greedy)).collect();
    assert_eq!(greedy.0.exceeded(), None);
    streams.push(stream(&greedy));
    let calm = stream(&fair);
    assert_eq!((greedy.0.exceeded(), fair.0.exceeded()), (Some(Bound::Streams), None));
    // Bodies are not waited for either.
    streams.iter().for_each(|exchange| exchange.set_owed(true));
    connections.at(2);
    assert!(streams.iter().all(|exchange| exchange.poll_cancelled(Waker::noop())));
    assert!(!calm.poll_cancelled(Waker::noop()));
    streams.clear();
    assert_eq!(greedy.0.exceeded(), None);
}

#[test]
fn a_body_is_owed_for_as_long_as_its_reader_waits_while_there_is_room() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = stream(&opened);
    exchange.set_owed(true);
    connections.at(1000);
    assert!(!exchange.poll_cancelled(Waker::noop()));
}

#[test]
fn an_operator_above_the_cap_outlasts_strangers() {
    let connections = connections(100);
    let busy: Vec<_> = (0..100)
        .map(|_| {
            let opened = connections.public().expect("room");
            let exchange = opened.0.begin(&Cell::default());
            (opened, exchange)
        })
        .collect();
    let operator = connections.public().expect("room that is kept");
    let strangers: Vec<_> = (0..5).map(|_| connections.public().expect("room that is kept")).collect();
    assert!(connections.is_open(&operator), "its first request may be under way");
    // It is the oldest of those that have shown nothing, and gives way only when all that is kept is taken.
    operator.0.prove();
    let more: Vec<_> = (0..10).map(|_| connections.public().expect("in the place of a stranger")).collect();
    assert!(connections.is_open(&operator) && !connections.is_open(&strangers[0]));
    drop((busy, more));
}

#[test]
fn once_it_is_answered_a_request_waits_for_its_response_alone() {
    let connections = connections(10);
    let opened = connections.public().expect("room");
    let exchange = opened.0.begin(&Cell::default());
    let waiting = waiting(&exchange, 10);
    exchange.set_owed(false);
    assert!(opened.0.is_idle(), "a late piece of the request's body changes nothing");
    drop(waiting);
    let (sender, body) = late_body();
    let mut body = Outgoing::response(Response::new(body), opened.0.begin(&Cell::default())).into_body();
    assert!(next(&mut body).is_pending() && !opened.0.is_idle(), "the client waits for the process");
    drop(sender);
}

/// A body that makes no frame yet.
fn late_body() -> (tokio::sync::oneshot::Sender<()>, Body) {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let stream = futures_util::stream::once(async move {
        let _ = receiver.await;
        Ok::<_, std::convert::Infallible>("late")
    });
    (sender, Body::from_stream(stream))
}

#[test]
fn an_http2_connection_without_requests_ends() {
    let connections = connections(9);
    let [used, unused, http1] = [0; 3].map(|_| connections.public().expect("room"));
    let exchange = stream(&used);
    drop((stream(&unused), http1.0.begin(&Cell::default())));
    let endings = || [&used, &unused, &http1].map(|opened| opened.0.ending());
    connections.at(60);
    assert_eq!(endings(), [Ending::No; 3]);
    connections.at(61);
    assert_eq!(endings(), [Ending::No, Ending::Gracefully, Ending::No]);
    connections.at(71);
    assert_eq!(endings(), [Ending::No, Ending::AtOnce, Ending::No]);
    drop(exchange);
}

/// In which order 64 streams of one connection, begun at once, and then one of another connection are worked on.
async fn order(is_trusted: bool) -> Vec<usize> {
    const STREAMS: usize = 64;
    let connections = connections(10);
    let begun = Arc::new(std::sync::Mutex::new(Vec::new()));
    let spawn = |opened: &Opened, number| {
        let (exchange, begun) = (opened.0.begin_stream(), Arc::clone(&begun));
        let stream = async move {
            begun.lock().expect("no panic").push(number);
            drop(exchange);
        };
        hyper::rt::Executor::execute(&StreamExecutor(Arc::clone(&opened.0)), stream);
    };
    let many = connections.open(Surface::Public, is_trusted).expect("room");
    let one = connections.public().expect("room");
    (0..STREAMS).for_each(|number| spawn(&many, number));
    spawn(&one, STREAMS);
    while begun.lock().expect("no panic").len() <= STREAMS {
        tokio::task::yield_now().await;
    }
    begun.lock().expect("no panic").clone()
}

#[tokio::test]
async fn a_connection_that_begins_many_streams_leaves_turns_to_others() {
    let order = order(false).await;
    let position = order.iter().position(|&number| number == 64).expect("begun");
    assert!(position <= 8, "after {position} of 64 streams: {order:?}");
}

#[tokio::test]
async fn the_streams_of_a_trusted_proxy_are_many_clients() {
    assert_eq!(order(true).await, (0..=64).collect::<Vec<_>>());
}
