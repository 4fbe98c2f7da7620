use super::*;
use crate::admission::{QUEUE_DEADLINE, lanes::Kind};

const MS: Duration = Duration::from_millis(1);

fn now() -> Instant {
    Instant::now()
}

fn gate(limit: f64) -> Gate<u32> {
    Gate::new(limit, Bounds { least: limit, most: 1000.0, patience: Duration::ZERO, negligible: Duration::ZERO }, now())
}

fn served(took: Duration) -> Ending {
    Ending { took: Some(took), ..Ending::default() }
}

fn group(lane: usize) -> Group {
    Group { lane, kind: Kind::Read, client: Network::Unknown }
}

fn client(number: u8) -> Group {
    Group { client: Network::V4([192, 0, 2, number].into()), ..group(0) }
}

#[test]
fn who_comes_when_the_gate_is_full_waits_and_is_let_in_when_one_ends() {
    let mut gate = gate(2.0);
    assert_eq!(
        [gate.offer(group(0), now(), || 1), gate.offer(group(0), now(), || 2)],
        [Decision::Admitted, Decision::Admitted]
    );
    assert!(
        matches!(gate.offer(group(0), now(), || 3), Decision::Waits(_))
            && matches!(gate.offer(group(0), now(), || 4), Decision::Waits(_))
    );
    assert_eq!(gate.finish(group(0), served(MS), now()), [3]);
    assert_eq!(gate.finish(group(0), served(MS), now()), [4]);
    assert!(gate.finish(group(0), served(MS), now()).is_empty());
    let counts = gate.counts();
    assert_eq!((counts.offered, counts.admitted, counts.queued, counts.in_flight), (4, 4, 2, 1));
}

#[test]
fn the_queue_is_bounded_and_whoever_is_not_served_is_counted() {
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    let mut tickets = Vec::new();
    for number in 0..QUEUE_LEAST as u32 {
        let Decision::Waits(ticket) = gate.offer(group(0), now(), || number) else { panic!("the queue has room") };
        tickets.push(ticket);
    }
    assert_eq!(
        [gate.offer(group(0), now(), || 1000), gate.offer(group(0), now(), || 1001)],
        [Decision::Refused, Decision::Refused]
    );
    assert_eq!((gate.counts().shed, gate.counts().waiting), (2, QUEUE_LEAST));
    gate.abandon(tickets[1]);
    gate.abandon(tickets[1]);
    assert_eq!((gate.counts().abandoned, gate.counts().waiting), (1, QUEUE_LEAST - 1));
    let (late, next) = gate.sweep(now() + QUEUE_DEADLINE);
    assert_eq!((late.len(), next), (QUEUE_LEAST - 1, None));
    let counts = gate.counts();
    assert_eq!((counts.shed, counts.waiting), (2 + late.len() as u64, 0));
    assert_eq!(counts.offered, counts.admitted + counts.shed + counts.abandoned + counts.waiting as u64);
}

#[test]
fn one_sweeps_as_long_as_anybody_waits() {
    let (mut gate, start) = (gate(1.0), now());
    assert_eq!(gate.offer(group(0), start, || 0), Decision::Admitted);
    assert!(!gate.begin_to_sweep());
    assert!(matches!(gate.offer(group(0), start, || 1), Decision::Waits(_)));
    assert!(gate.begin_to_sweep() && !gate.begin_to_sweep());
    assert_eq!(gate.sweep(start), (vec![], Some(start + QUEUE_DEADLINE)));
    assert!(!gate.begin_to_sweep());
    assert_eq!(gate.sweep(start + QUEUE_DEADLINE), (vec![1], None));
    assert!(matches!(gate.offer(group(0), start, || 2), Decision::Waits(_)));
    assert!(gate.begin_to_sweep());
}

#[test]
fn a_shard_that_may_hang_leaves_places_for_the_others() {
    let mut gate = gate(8.0);
    let [first, second, third] = ["a", "b", "c"].map(|shard| gate.lane(Some(shard)));
    assert_eq!(gate.lane(Some("b")), second);
    let hung = (0..100).filter(|&number| gate.offer(group(third), now(), || number) == Decision::Admitted).count();
    assert_eq!((hung, gate.counts().waiting), (4, QUEUE_LEAST / 2));
    for lane in [first, second, 0, first] {
        assert_eq!(gate.offer(group(lane), now(), || 0), Decision::Admitted);
    }
    assert!(matches!(gate.offer(group(first), now(), || 200), Decision::Waits(_)));
    assert_eq!(gate.finish(group(first), served(MS), now()), [200], "not one of the shard that hangs");
}

#[test]
fn who_needs_a_shard_that_hangs_is_refused_at_once_and_takes_no_place_from_the_others() {
    let (mut gate, start) = (gate(8.0), now());
    let [first, third] = ["a", "c"].map(|shard| gate.lane(Some(shard)));
    (0..6).for_each(|number| assert_eq!(gate.offer(group(third), start, || number), Decision::Admitted));
    assert!(matches!(gate.offer(group(third), start, || 6), Decision::Waits(_)));
    let later = start + QUEUE_DEADLINE + MS;
    assert_eq!(gate.offer(group(third), later, || 7), Decision::Refused);
    (0..8).for_each(|number| assert_eq!(gate.offer(group(0), later, || number), Decision::Admitted));
    assert!(matches!(gate.offer(group(first), later, || 8), Decision::Waits(_)));
    assert!(gate.finish(group(third), served(MS), later).is_empty(), "its others compete again");
    assert!(matches!(gate.offer(group(third), later, || 8), Decision::Waits(_)), "once one is served it hangs no more");
}

#[test]
fn the_only_shard_may_have_all_places() {
    let mut gate = gate(8.0);
    let only = gate.lane(Some("a"));
    assert!((0..8).all(|number| gate.offer(group(only), now(), || number) == Decision::Admitted));
}

#[test]
fn what_was_not_served_says_nothing_and_what_was_refused_behind_lowers_the_limit() {
    let mut gate: Gate<u32> = Gate::new(
        100.0,
        Bounds { least: 8.0, most: 100.0, patience: Duration::ZERO, negligible: Duration::ZERO },
        now(),
    );
    let mut at = now();
    let mut round = |gate: &mut Gate<u32>, ending: Ending| {
        at += WINDOW;
        (0..60).for_each(|number| assert_eq!(gate.offer(group(0), now(), || number), Decision::Admitted));
        (0..60).for_each(|_| drop(gate.finish(group(0), ending, at)));
        gate.counts().limit
    };
    round(&mut gate, served(MS));
    assert_eq!(round(&mut gate, Ending::default()), 100);
    assert_eq!(round(&mut gate, Ending { refused: true, ..Ending::default() }), 54);
}

#[test]
fn a_pause_gives_the_place_away_and_going_on_needs_none() {
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 1), Decision::Admitted);
    assert!(matches!(gate.offer(group(0), now(), || 2), Decision::Waits(_)));
    assert_eq!(gate.pause(group(0), now()), [2]);
    gate.resume(group(0));
    assert_eq!(gate.counts().in_flight, 2);
    gate.pause(group(0), now());
    let paused = Ending { paused: true, ..Ending::default() };
    assert!(gate.finish(group(0), paused, now()).is_empty());
    assert!(gate.finish(group(0), served(MS), now()).is_empty());
    assert_eq!(gate.counts().in_flight, 0);
}

#[test]
fn refusals_are_told_of_once_in_a_while() {
    let (mut gate, now) = (gate(1.0), now());
    assert!(gate.tell(now).is_some() && gate.tell(now + TELL / 2).is_none() && gate.tell(now + TELL).is_some());
}

#[test]
fn a_client_that_fills_the_queue_neither_refuses_nor_delays_another() {
    let [other, guest] = [client(1), client(2)];
    let mut gate = gate(1.0);
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    assert_eq!(gate.offer(guest, now(), || 0), Decision::Admitted);
    let of_one = (1..100).filter(|&number| gate.offer(group(0), now(), || number) != Decision::Refused).count();
    assert_eq!(of_one, QUEUE_LEAST);
    assert!(matches!(gate.offer(other, now(), || 1000), Decision::Waits(_)));
    assert!(gate.finish(guest, served(MS), now()).is_empty());
    let entered: Vec<u32> = (0..2).flat_map(|_| gate.finish(group(0), served(MS), now())).collect();
    assert_eq!(entered, [2, 1000], "the first of the one gave way");
    let counts = gate.counts();
    assert_eq!(counts.offered, counts.admitted + counts.shed + counts.waiting as u64);
}

#[test]
fn a_client_that_takes_every_place_leaves_some_to_others() {
    let (mut gate, other) = (gate(32.0), client(1));
    let taken = (0..40).filter(|&number| gate.offer(group(0), now(), || number) == Decision::Admitted).count();
    assert_eq!(taken, 30);
    assert_eq!(gate.offer(other, now(), || 100), Decision::Admitted);
    assert!(gate.finish(other, served(MS), now()).is_empty(), "what was the other's is not for who has most");
    assert_eq!(gate.finish(group(0), served(MS), now()), [30]);
}

#[test]
fn a_client_that_holds_nothing_is_let_in_above_a_limit_that_has_fallen() {
    let mut gate = gate(1.0);
    let [one, other] = [client(1), client(2)];
    assert_eq!(gate.offer(group(0), now(), || 0), Decision::Admitted);
    // As many as there are after a limit of eight has fallen to one.
    (0..7).for_each(|_| gate.resume(group(0)));
    assert_eq!(gate.offer(one, now(), || 1), Decision::Admitted);
    assert!(matches!(gate.offer(one, now(), || 2), Decision::Waits(_)), "it holds one");
    assert!(matches!(gate.offer(other, now(), || 3), Decision::Waits(_)), "one at a time");
    assert!(gate.finish(one, served(MS), now()).is_empty());
    assert_eq!(gate.offer(client(3), now(), || 4), Decision::Admitted, "the next one");
}
