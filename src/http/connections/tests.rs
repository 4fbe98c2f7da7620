use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::body::{Body, Bytes};
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
        self.open(Surface::Public)
    }

    fn is_open(&self, opened: &Opened) -> bool {
        self.0.open().contains_key(&opened.connection.id())
    }
}

/// A stream of an HTTP/2 connection that has its task.
fn stream(opened: &Opened) -> Arc<Exchange> {
    let exchange = opened.connection.begin(true);
    assert!(opened.connection.take_begun().is_some_and(|begun| Arc::ptr_eq(&begun, &exchange)));
    exchange
}

type Frame = Poll<Option<Result<http_body::Frame<bodies::Piece>, axum::Error>>>;

fn next(body: &mut Outgoing<Body>) -> Frame {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// A response of which the first piece waits for its client.
fn waiting(exchange: &Arc<Exchange>, length: usize) -> (Outgoing<Body>, Frame) {
    let mut body = Outgoing::new(Body::from(Bytes::from(vec![0; length])), Arc::clone(exchange));
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
    drop(opened[0].connection.begin(false));
    let newcomer = connections.public().expect("room");
    assert!(!newcomer.is_above_cap);
    let left: Vec<bool> = opened.iter().map(|opened| connections.is_open(opened)).collect();
    assert_eq!(left, [true, false, true]);
    assert_eq!(opened[1].connection.ending(), Ending::AtOnce);
}

#[test]
fn a_connection_that_is_worked_on_does_not_give_way() {
    let connections = connections(2);
    let opened: Vec<Opened> = (0..2).map(|_| connections.public().expect("room")).collect();
    let exchanges: Vec<_> = opened.iter().map(|opened| opened.connection.begin(false)).collect();
    let above: Vec<Opened> = (0..4).map(|_| connections.public().expect("room that is kept")).collect();
    assert!(above.iter().all(|above| above.is_above_cap));
    // One that waits for its client is idle.
    exchanges[1].set_working(false);
    drop(above);
    assert!(!connections.public().expect("room").is_above_cap);
    assert!(connections.is_open(&opened[0]) && !connections.is_open(&opened[1]));
}

#[test]
fn operators_have_room_that_others_do_not() {
    let connections = connections(2);
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let opened = connections.public().expect("room");
            let exchange = opened.connection.begin(false);
            (opened, exchange)
        })
        .collect();
    assert!(connections.public().is_none() && connections.open(Surface::Operators).is_none());
    drop(busy);
    let _public: Vec<_> = (0..2).map(|_| connections.public().expect("room")).collect();
    let operators: Vec<_> = (0..4).map(|_| connections.open(Surface::Operators).expect("room")).collect();
    assert!(operators.iter().all(|operator| !operator.is_above_cap));
}

#[test]
fn a_response_that_waits_too_long_ends_its_connection() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = opened.connection.begin(false);
    let waiting = waiting(&exchange, 10);
    connections.at(20);
    assert_eq!(opened.connection.ending(), Ending::No);
    connections.at(21);
    assert_eq!(opened.connection.ending(), Ending::AtOnce);
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
    assert!(is_cancelled() && opened.connection.ending() == Ending::No);
    // The rest of it is in the connection's hands.
    exchange.end_task();
    connections.at(22);
    assert_eq!(opened.connection.ending(), Ending::AtOnce);
    drop(waiting);
}

#[test]
fn a_large_response_goes_out_in_pieces_and_each_has_its_time() {
    let connections = connections(9);
    let opened = connections.public().expect("room");
    let exchange = opened.connection.begin(false);
    let (mut body, mut piece) = waiting(&exchange, 200_000);
    for second in [15, 30, 45] {
        connections.at(second);
        drop(piece);
        piece = next(&mut body);
    }
    connections.at(60);
    assert_eq!(opened.connection.ending(), Ending::No);
    assert!(body.is_end_stream());
    connections.at(66);
    assert_eq!(opened.connection.ending(), Ending::AtOnce);
    drop(piece);
}

#[test]
fn unsent_bytes_are_bounded_for_one_connection_and_for_all() {
    let connections = connections(100);
    let opened: Vec<Opened> = (0..17).map(|_| connections.public().expect("room")).collect();
    let fill = |opened: &Opened| waiting(&stream(opened), (4 << 20) + 1);
    let first = fill(&opened[0]);
    assert!(opened[0].connection.is_pressed() && !opened[1].connection.is_pressed());
    let others: Vec<_> = opened[1..16].iter().map(fill).collect();
    assert!(opened[16].connection.is_pressed());
    // Then nobody's patience is long.
    connections.at(2);
    assert_eq!(connections.0.stalled.load(Ordering::Relaxed), 16);
    drop((first, others));
    assert!(!opened[0].connection.is_pressed() && connections.0.unsent.load(Ordering::Relaxed) == 0);
    assert_eq!(connections.0.streams.load(Ordering::Relaxed), 0);
}

#[test]
fn an_http2_connection_without_requests_ends() {
    let connections = connections(9);
    let [used, unused, http1] = [0; 3].map(|_| connections.public().expect("room"));
    let exchange = stream(&used);
    drop((stream(&unused), http1.connection.begin(false)));
    let endings = || [&used, &unused, &http1].map(|opened| opened.connection.ending());
    connections.at(60);
    assert_eq!(endings(), [Ending::No; 3]);
    connections.at(61);
    assert_eq!(endings(), [Ending::No, Ending::Gracefully, Ending::No]);
    connections.at(71);
    assert_eq!(endings(), [Ending::No, Ending::AtOnce, Ending::No]);
    drop(exchange);
}
