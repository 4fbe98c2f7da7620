use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*};

use super::*;

const LIMITS: QueueLimits = QueueLimits {
    max_slots: 40,
    standing_kind_limit: 20,
    flow_threshold: 3,
    standing_flow_limit: 2,
    interval: Duration::from_millis(250),
};

fn client(number: u32) -> Network {
    Network::V4(Ipv4Addr::from_bits(number))
}

/// A queue in front of one thread. Each computed hash advances the clock by its duration.
struct Simulation {
    queue: FairQueue,
    limits: QueueLimits,
    now: Instant,
    running: Option<u64>,
    /// Owner of each slot.
    owners: HashMap<u64, (usize, HashKind)>,
    /// Hashes computed, by client and kind.
    served: HashMap<(usize, HashKind), usize>,
    /// Refusals and evictions, by client.
    refused: HashMap<usize, usize>,
}

impl Simulation {
    fn new(limits: QueueLimits) -> Self {
        Self {
            queue: FairQueue::default(),
            limits,
            now: Instant::now(),
            running: None,
            owners: HashMap::new(),
            served: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Sends one request of a client. Returns whether it got a slot.
    fn request(&mut self, who: usize, kind: HashKind) -> bool {
        let entry = self.queue.enter(client(who as u32), kind, &self.limits, self.now);
        for evicted in entry.evicted {
            if let Some((loser, _)) = self.owners.remove(&evicted) {
                *self.refused.entry(loser).or_default() += 1;
            }
        }
        match entry.slot {
            Some(slot) => {
                self.owners.insert(slot, (who, kind));
                assert!(self.queue.ready(slot));
            }
            None => *self.refused.entry(who).or_default() += 1,
        }
        entry.slot.is_some()
    }

    /// Ends the running hash and begins the next.
    fn compute(&mut self) {
        self.now += Duration::from_millis(25);
        if let Some(done) = self.running.take() {
            self.queue.leave(done);
            if let Some(owner) = self.owners.remove(&done) {
                *self.served.entry(owner).or_default() += 1;
            }
        }
        self.running = self.queue.begin_next();
    }

    fn held(&self, who: usize, kind: HashKind) -> usize {
        self.owners.values().filter(|owner| **owner == (who, kind)).count()
    }

    /// Keeps `connections` requests of every client in flight for so many hashes. Refused requests are repeated at once.
    fn keep_busy(&mut self, connections: &[(usize, HashKind)], hashes: usize) {
        for _ in 0..hashes {
            for (who, &(connections, kind)) in connections.iter().enumerate() {
                for _ in self.held(who, kind)..connections {
                    self.request(who, kind);
                }
            }
            self.compute();
        }
    }

    fn served(&self, who: usize, kind: HashKind) -> usize {
        self.served.get(&(who, kind)).copied().unwrap_or_default()
    }
}

fn kinds() -> impl Strategy<Value = HashKind> {
    prop_oneof![Just(HashKind::Check), Just(HashKind::New)]
}

#[derive(Debug, Clone)]
enum Step {
    Enter(u32, HashKind),
    Ready(usize),
    Leave(usize),
    Begin,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u32..12, kinds()).prop_map(|(client, kind)| Step::Enter(client, kind)),
        2 => any::<usize>().prop_map(Step::Ready),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => Just(Step::Begin),
    ];
    vec(step, 0..400)
}

proptest! {
    /// No slot is lost, counted twice or kept after its client has gone, and the maximum holds.
    #[test]
    fn all_indices_agree_after_any_sequence_of_steps(
        steps in steps(),
        max_slots in 1usize..30,
        standing_kind_limit in 1usize..10,
    ) {
        let limits = QueueLimits { max_slots, standing_kind_limit, interval: Duration::from_millis(20), ..LIMITS };
        let (mut queue, mut now) = (FairQueue::default(), Instant::now());
        let (mut idle, mut running) = (Vec::new(), Vec::new());
        for step in steps {
            now += Duration::from_millis(5);
            match step {
                Step::Enter(who, kind) => {
                    let entry = queue.enter(client(who), kind, &limits, now);
                    idle.retain(|slot| !entry.evicted.contains(slot));
                    idle.extend(entry.slot);
                    prop_assert!(running.iter().all(|slot| !entry.evicted.contains(slot)));
                }
                Step::Ready(index) if !idle.is_empty() => prop_assert!(queue.ready(idle[index % idle.len()])),
                Step::Leave(index) if idle.len() + running.len() > 0 => {
                    let index = index % (idle.len() + running.len());
                    let from = if index < idle.len() { &mut idle } else { &mut running };
                    let slot = from.swap_remove(index % from.len());
                    queue.leave(slot);
                    prop_assert!(!queue.ready(slot));
                }
                Step::Begin => {
                    if let Some(slot) = queue.begin_next() {
                        let index = idle.iter().position(|one| *one == slot);
                        running.push(idle.swap_remove(index.expect("an idle slot")));
                    }
                }
                Step::Ready(_) | Step::Leave(_) => {}
            }
            prop_assert!(queue.checks.is_consistent() && queue.new.is_consistent());
            prop_assert_eq!((queue.len(), queue.running()), (idle.len() + running.len(), running.len()));
            prop_assert_eq!(queue.checks.len() + queue.new.len(), queue.len());
            prop_assert!(queue.len() <= limits.max_slots);
        }
    }
}

proptest! {
    // Each case computes some hundred hashes.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Each of k clients gets at least a k-th of the hashes, less what is in flight, however many connections each has.
    #[test]
    fn clients_get_equal_shares(connections in vec(1usize..60, 2..15), kind in kinds()) {
        let mut simulation = Simulation::new(LIMITS);
        let clients: Vec<_> = connections.iter().map(|count| (*count, kind)).collect();
        let rounds = 40;
        simulation.keep_busy(&clients, rounds * clients.len());
        for (who, connections) in connections.iter().enumerate() {
            let served = simulation.served(who, kind);
            prop_assert!(served + 3 >= rounds, "client {} of {:?} was served {} times of {}", who, connections, served, rounds);
        }
    }

    /// A client with one request at a time is never refused, and waits for at most one hash of each other client.
    #[test]
    fn a_client_with_one_request_at_a_time_is_never_refused(greedy in vec(4usize..80, 1..8), calm in 1usize..8, kind in kinds()) {
        let mut simulation = Simulation::new(LIMITS);
        let mut clients: Vec<_> = greedy.iter().map(|count| (*count, kind)).collect();
        simulation.keep_busy(&clients, 100);
        clients.extend(vec![(1, HashKind::Check); calm]);
        let hashes = 10 * clients.len();
        simulation.keep_busy(&clients, hashes);
        for who in greedy.len()..clients.len() {
            prop_assert_eq!(simulation.refused.get(&who), None);
            prop_assert!(simulation.served(who, HashKind::Check) >= 8);
        }
    }

    /// New passwords get a quarter of the hashes while checks wait, and all of them while none does. Checks get the rest.
    #[test]
    fn each_kind_gets_its_share(checking in 1usize..8, registering in 1usize..8, connections in 1usize..40) {
        let mut simulation = Simulation::new(LIMITS);
        let mut clients = vec![(connections, HashKind::Check); checking];
        clients.extend(vec![(connections.max(2), HashKind::New); registering]);
        simulation.keep_busy(&clients, 400);
        let total = |kind| (0..clients.len()).map(|who| simulation.served(who, kind)).sum::<usize>();
        // A client with one check at a time has none in the queue between two of them.
        if checking > 1 || connections > 1 {
            prop_assert!((95..=105).contains(&total(HashKind::New)), "{}", total(HashKind::New));
        }
        prop_assert!(total(HashKind::Check) + total(HashKind::New) >= 399);
    }
}

#[test]
fn a_burst_of_a_single_client_may_use_all_slots() {
    for kind in [HashKind::Check, HashKind::New] {
        let mut simulation = Simulation::new(LIMITS);
        let admitted = (0..100).filter(|_| simulation.request(0, kind)).count();
        assert_eq!(admitted, LIMITS.max_slots);
    }
}

#[test]
fn the_largest_flow_gives_up_its_oldest_slot_when_all_are_taken() {
    let mut simulation = Simulation::new(QueueLimits { flow_threshold: 100, ..LIMITS });
    for _ in 0..LIMITS.max_slots {
        simulation.request(0, HashKind::Check);
    }
    let oldest_idle = 1;
    simulation.compute();
    let entry = simulation.queue.enter(client(1), HashKind::Check, &simulation.limits, simulation.now);
    assert_eq!(entry.evicted, [oldest_idle], "the running one stays");
    assert!(entry.slot.is_some());
    let entry = simulation.queue.enter(client(0), HashKind::Check, &simulation.limits, simulation.now);
    assert_eq!(entry, Entry { slot: None, evicted: vec![] }, "no flow is larger than its own");
}

#[test]
fn registrations_beyond_their_share_give_way_to_logins() {
    let mut simulation = Simulation::new(QueueLimits { flow_threshold: 100, standing_kind_limit: 1000, ..LIMITS });
    for who in 0..LIMITS.max_slots {
        assert!(simulation.request(who, HashKind::New));
    }
    let admitted = (100..200).filter(|&who| simulation.request(who, HashKind::Check)).count();
    assert_eq!(admitted, LIMITS.max_slots - LIMITS.max_slots / NEW_SHARE);
    assert_eq!(simulation.queue.new.len(), LIMITS.max_slots / NEW_SHARE);
}

#[test]
fn standing_clients_are_cut_to_the_newest_ones() {
    let limits = QueueLimits { standing_kind_limit: 10, ..LIMITS };
    let mut simulation = Simulation::new(limits);
    for who in 0..30 {
        assert!(simulation.request(who, HashKind::Check), "a burst of many clients waits");
    }
    simulation.now += limits.interval * 2;
    assert!(!simulation.request(30, HashKind::Check));
    let mut left: Vec<_> = simulation.owners.values().map(|(who, _)| *who).collect();
    left.sort_unstable();
    assert_eq!(left, (20..30).collect::<Vec<_>>());
    assert!(simulation.request(1, HashKind::New), "the other kind has its own queue");
}
