use super::*;
use crate::{QUEUE_DEADLINE, bulkheads::Kind};

const MS: Duration = Duration::from_millis(1);

fn now() -> Instant {
    Instant::now()
}

fn gate(limit: f64) -> State<u8, u32> {
    State::new(limit, Bounds { min: limit, max: 1000.0, patience: Duration::ZERO, negligible: Duration::ZERO }, now())
}

fn served(latency: Duration) -> Completion {
    Completion { latency: Some(latency), ..Completion::default() }
}

fn group(bulkhead: usize) -> Group<u8> {
    Group { bulkhead, kind: Kind::Read, client: 0 }
}

fn client(number: u8) -> Group<u8> {
    Group { client: number, ..group(0) }
}

#[test]
fn a_request_beyond_the_limit_waits_for_a_completion() {
    let mut gate = gate(2.0);
    assert_eq!(
        [gate.offer(group(0), now(), || 1), gate.offer(group(0), now(), || 2)],
        [Decision::Admitted, Decision::Admitted]
    );
    assert!(
        matches!(gate.offer(group(0), now(), || 3), Decision::Queued(_))
            && matches!(gate.offer(group(0), now(), || 4), Decision::Queued(_))
    );
    assert_eq!(gate.finish(group(0), served(MS), now()), [3]);
    assert_eq!(gate.finish(group(0), served(MS), now()), [4]);
    assert!(gate.finish(group(0), served(MS), now()).is_empty());
    let counts = gate.stats();
    assert_eq!((counts.offered, counts.admitted, counts.queued, counts.in_flight), (4, 4, 2, 1));
}

#[test]
fn the_queue_is_bounded_and_every_request_is_counted() {
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    let mut tickets = Vec::new();
    for number in 0..MIN_QUEUE_LEN as u32 {
        let Decision::Queued(ticket) = gate.offer(group(0), now(), || number) else { panic!("the queue has room") };
        tickets.push(ticket);
    }
    assert_eq!(
        [gate.offer(group(0), now(), || 1000), gate.offer(group(0), now(), || 1001)],
        [Decision::Rejected, Decision::Rejected]
    );
    assert_eq!((gate.stats().rejected, gate.stats().waiting), (2, MIN_QUEUE_LEN));
    gate.abandon(tickets[1]);
    gate.abandon(tickets[1]);
    assert_eq!((gate.stats().abandoned, gate.stats().waiting), (1, MIN_QUEUE_LEN - 1));
    let (late, next) = gate.take_expired(now() + QUEUE_DEADLINE);
    assert_eq!((late.len(), next), (MIN_QUEUE_LEN - 1, None));
    let counts = gate.stats();
    assert_eq!((counts.rejected, counts.waiting), (2 + late.len() as u64, 0));
    assert_eq!(counts.offered, counts.admitted + counts.rejected + counts.abandoned + counts.waiting as u64);
}

#[test]
fn one_task_sweeps_as_long_as_requests_wait() {
    let (mut gate, start) = (gate(1.0), now());
    assert_eq!(gate.offer(group(0), start, || 0), Decision::Admitted);
    assert!(!gate.start_sweeper());
    assert!(matches!(gate.offer(group(0), start, || 1), Decision::Queued(_)));
    assert!(gate.start_sweeper() && !gate.start_sweeper());
    assert_eq!(gate.take_expired(start), (vec![], Some(start + QUEUE_DEADLINE)));
    assert!(!gate.start_sweeper());
    assert_eq!(gate.take_expired(start + QUEUE_DEADLINE), (vec![1], None));
    assert!(matches!(gate.offer(group(0), start, || 2), Decision::Queued(_)));
    assert!(gate.start_sweeper());
}

#[test]
fn one_backend_does_not_use_the_whole_limit() {
    let mut gate = gate(8.0);
    let [first, second, third] = ["a", "b", "c"].map(|shard| gate.bulkhead(Some(shard)));
    assert_eq!(gate.bulkhead(Some("b")), second);
    let admitted = (0..100).filter(|&number| gate.offer(group(third), now(), || number) == Decision::Admitted).count();
    assert_eq!((admitted, gate.stats().waiting), (4, MIN_QUEUE_LEN / 2));
    for bulkhead in [first, second, 0, first] {
        assert_eq!(gate.offer(group(bulkhead), now(), || 0), Decision::Admitted);
    }
    assert!(matches!(gate.offer(group(first), now(), || 200), Decision::Queued(_)));
    assert_eq!(gate.finish(group(first), served(MS), now()), [200], "not one of the full bulkhead");
}

#[test]
fn requests_for_a_stalled_backend_are_rejected_at_once() {
    let (mut gate, start) = (gate(8.0), now());
    let [first, third] = ["a", "c"].map(|shard| gate.bulkhead(Some(shard)));
    (0..6).for_each(|number| assert_eq!(gate.offer(group(third), start, || number), Decision::Admitted));
    assert!(matches!(gate.offer(group(third), start, || 6), Decision::Queued(_)));
    let later = start + QUEUE_DEADLINE + MS;
    assert_eq!(gate.offer(group(third), later, || 7), Decision::Rejected);
    (0..8).for_each(|number| assert_eq!(gate.offer(group(0), later, || number), Decision::Admitted));
    assert!(matches!(gate.offer(group(first), later, || 8), Decision::Queued(_)));
    assert!(gate.finish(group(third), served(MS), later).is_empty(), "its other requests compete again");
    assert!(
        matches!(gate.offer(group(third), later, || 8), Decision::Queued(_)),
        "it recovers with the first request that is served"
    );
}

#[test]
fn a_single_backend_may_use_the_whole_limit() {
    let mut gate = gate(8.0);
    let only = gate.bulkhead(Some("a"));
    assert!((0..8).all(|number| gate.offer(group(only), now(), || number) == Decision::Admitted));
}

#[test]
fn failures_do_not_move_the_limit_and_downstream_rejections_lower_it() {
    let mut gate: State<u8, u32> =
        State::new(100.0, Bounds { min: 8.0, max: 100.0, patience: Duration::ZERO, negligible: Duration::ZERO }, now());
    let mut at = now();
    let mut round = |gate: &mut State<u8, u32>, completion: Completion| {
        at += WINDOW;
        (0..60).for_each(|number| assert_eq!(gate.offer(group(0), now(), || number), Decision::Admitted));
        (0..60).for_each(|_| drop(gate.finish(group(0), completion, at)));
        gate.stats().limit
    };
    round(&mut gate, served(MS));
    assert_eq!(round(&mut gate, Completion::default()), 100);
    assert_eq!(round(&mut gate, Completion { rejected_downstream: true, ..Completion::default() }), 54);
}

#[test]
fn a_paused_request_returns_its_permit_and_resumes_without_one() {
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 1), Decision::Admitted);
    assert!(matches!(gate.offer(group(0), now(), || 2), Decision::Queued(_)));
    assert_eq!(gate.pause(group(0), now()), [2]);
    gate.resume(group(0));
    assert_eq!(gate.stats().in_flight, 2);
    gate.pause(group(0), now());
    let paused = Completion { paused: true, ..Completion::default() };
    assert!(gate.finish(group(0), paused, now()).is_empty());
    assert!(gate.finish(group(0), served(MS), now()).is_empty());
    assert_eq!(gate.stats().in_flight, 0);
}

#[test]
fn rejections_are_reported_at_most_once_an_interval() {
    let (mut gate, now) = (gate(1.0), now());
    assert!(
        gate.rejection_report(now).is_some()
            && gate.rejection_report(now + REPORT_INTERVAL / 2).is_none()
            && gate.rejection_report(now + REPORT_INTERVAL).is_some()
    );
}

#[test]
fn a_client_that_fills_the_queue_does_not_block_another() {
    let [other, guest] = [client(1), client(2)];
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    assert_eq!(gate.offer(guest, now(), || 0), Decision::Admitted);
    let of_one = (1..100).filter(|&number| gate.offer(group(0), now(), || number) != Decision::Rejected).count();
    assert_eq!(of_one, MIN_QUEUE_LEN);
    assert!(matches!(gate.offer(other, now(), || 1000), Decision::Queued(_)));
    assert!(gate.finish(guest, served(MS), now()).is_empty());
    let entered: Vec<u32> = (0..2).flat_map(|_| gate.finish(group(0), served(MS), now())).collect();
    assert_eq!(entered, [2, 1000], "the first request of the large client was evicted");
    let counts = gate.stats();
    assert_eq!(counts.offered, counts.admitted + counts.rejected + counts.waiting as u64);
}

#[test]
fn the_last_permits_are_reserved_for_other_clients() {
    let (mut gate, other) = (gate(32.0), client(1));
    let taken = (0..40).filter(|&number| gate.offer(group(0), now(), || number) == Decision::Admitted).count();
    assert_eq!(taken, 30);
    assert_eq!(gate.offer(other, now(), || 100), Decision::Admitted);
    assert!(gate.finish(other, served(MS), now()).is_empty(), "the reserved permit is not for the large client");
    assert_eq!(gate.finish(group(0), served(MS), now()), [30]);
}

#[test]
fn a_client_without_permits_is_admitted_above_a_limit_that_has_fallen() {
    let mut gate = gate(1.0);
    let [one, other] = [client(1), client(2)];
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    // As many requests as after a fall of the limit from eight to one.
    (0..7).for_each(|_| gate.resume(group(0)));
    assert_eq!(gate.offer(one, now(), || 1), Decision::Admitted);
    assert!(matches!(gate.offer(one, now(), || 2), Decision::Queued(_)), "it holds a permit");
    assert!(matches!(gate.offer(other, now(), || 3), Decision::Queued(_)), "one client at a time");
    assert!(gate.finish(one, served(MS), now()).is_empty());
    assert_eq!(gate.offer(client(3), now(), || 4), Decision::Admitted, "the next client");
}
