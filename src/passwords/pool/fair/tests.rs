use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*};

use super::*;

const LIMITS: QueueLimits =
    QueueLimits { max_places: 40, crowd: 20, long: 3, enough: 2, patience: Duration::from_millis(250) };

fn client(number: u32) -> Network {
    Network::V4(Ipv4Addr::from_bits(number))
}

/// A queue before one thread. Time goes on by one hash with each that is computed.
struct Simulation {
    queue: FairQueue,
    limits: QueueLimits,
    now: Instant,
    running: Option<u64>,
    /// Whose each place is.
    owners: HashMap<u64, (usize, HashKind)>,
    /// How many hashes of each client were computed, by kind.
    served: HashMap<(usize, HashKind), usize>,
    /// How often each client was refused or lost a place.
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

    /// One more request of a client; whether it got a place.
    fn request(&mut self, who: usize, kind: HashKind) -> bool {
        let entry = self.queue.enter(client(who as u32), kind, &self.limits, self.now);
        for evicted in entry.evicted {
            if let Some((loser, _)) = self.owners.remove(&evicted) {
                *self.refused.entry(loser).or_default() += 1;
            }
        }
        match entry.place {
            Some(place) => {
                self.owners.insert(place, (who, kind));
                assert!(self.queue.ready(place));
            }
            None => *self.refused.entry(who).or_default() += 1,
        }
        entry.place.is_some()
    }

    /// Ends the hash that is being computed, and begins the next.
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

    /// How many places a client has.
    fn held(&self, who: usize, kind: HashKind) -> usize {
        self.owners.values().filter(|owner| **owner == (who, kind)).count()
    }

    /// Every client keeps `connections` requests under way for so many hashes, and repeats what is refused at once.
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

/// A step of a client: a request, or what becomes of one of the places.
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
    /// Nothing is lost, counted twice or remembered of who has gone, and there are never more places than there may be.
    #[test]
    fn whatever_happens_the_books_balance(steps in steps(), max_places in 1usize..30, crowd in 1usize..10) {
        let limits = QueueLimits { max_places, crowd, patience: Duration::from_millis(20), ..LIMITS };
        let (mut queue, mut now) = (FairQueue::default(), Instant::now());
        let (mut idle, mut running) = (Vec::new(), Vec::new());
        for step in steps {
            now += Duration::from_millis(5);
            match step {
                Step::Enter(who, kind) => {
                    let entry = queue.enter(client(who), kind, &limits, now);
                    idle.retain(|place| !entry.evicted.contains(place));
                    idle.extend(entry.place);
                    prop_assert!(running.iter().all(|place| !entry.evicted.contains(place)));
                }
                Step::Ready(index) if !idle.is_empty() => prop_assert!(queue.ready(idle[index % idle.len()])),
                Step::Leave(index) if idle.len() + running.len() > 0 => {
                    let index = index % (idle.len() + running.len());
                    let from = if index < idle.len() { &mut idle } else { &mut running };
                    let place = from.swap_remove(index % from.len());
                    queue.leave(place);
                    prop_assert!(!queue.ready(place));
                }
                Step::Begin => {
                    if let Some(place) = queue.begin_next() {
                        let index = idle.iter().position(|one| *one == place);
                        running.push(idle.swap_remove(index.expect("an idle place")));
                    }
                }
                Step::Ready(_) | Step::Leave(_) => {}
            }
            prop_assert!(queue.checks.is_consistent() && queue.new.is_consistent());
            prop_assert_eq!((queue.len(), queue.running()), (idle.len() + running.len(), running.len()));
            prop_assert_eq!(queue.checks.len() + queue.new.len(), queue.len());
            prop_assert!(queue.len() <= limits.max_places);
        }
    }
}

proptest! {
    // A case is some hundred hashes of a busy queue.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However many connections each has, k clients get at least a k-th each, but for what is under way.
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

    /// Who has one request at a time is never refused, and waits for one hash of each other client at most.
    #[test]
    fn nobody_who_sends_one_at_a_time_is_refused(greedy in vec(4usize..80, 1..8), calm in 1usize..8, kind in kinds()) {
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

    /// New passwords get a quarter while checks wait, and all there is while none does; checks get the rest.
    #[test]
    fn neither_kind_keeps_the_other_waiting(checking in 1usize..8, registering in 1usize..8, connections in 1usize..40) {
        let mut simulation = Simulation::new(LIMITS);
        let mut clients = vec![(connections, HashKind::Check); checking];
        clients.extend(vec![(connections.max(2), HashKind::New); registering]);
        simulation.keep_busy(&clients, 400);
        let total = |kind| (0..clients.len()).map(|who| simulation.served(who, kind)).sum::<usize>();
        // A single check at a time leaves the queue for a moment with each that ends.
        if checking > 1 || connections > 1 {
            prop_assert!((95..=105).contains(&total(HashKind::New)), "{}", total(HashKind::New));
        }
        prop_assert!(total(HashKind::Check) + total(HashKind::New) >= 399);
    }
}

#[test]
fn a_burst_of_one_client_has_all_places_while_nobody_else_comes() {
    for kind in [HashKind::Check, HashKind::New] {
        let mut simulation = Simulation::new(LIMITS);
        let admitted = (0..100).filter(|_| simulation.request(0, kind)).count();
        assert_eq!(admitted, LIMITS.max_places);
    }
}

#[test]
fn the_largest_flow_gives_up_its_oldest_place_when_there_is_none_left() {
    let mut simulation = Simulation::new(QueueLimits { long: 100, ..LIMITS });
    for _ in 0..LIMITS.max_places {
        simulation.request(0, HashKind::Check);
    }
    let oldest_idle = 1;
    simulation.compute();
    let entry = simulation.queue.enter(client(1), HashKind::Check, &simulation.limits, simulation.now);
    assert_eq!(entry.evicted, [oldest_idle], "the one that is being computed stays");
    assert!(entry.place.is_some());
    let entry = simulation.queue.enter(client(0), HashKind::Check, &simulation.limits, simulation.now);
    assert_eq!(entry, Entry { place: None, evicted: vec![] }, "nobody has more than the largest flow");
}

#[test]
fn registrations_give_way_to_logins_where_they_have_more_than_their_share() {
    let mut simulation = Simulation::new(QueueLimits { long: 100, crowd: 1000, ..LIMITS });
    for who in 0..LIMITS.max_places {
        assert!(simulation.request(who, HashKind::New));
    }
    let admitted = (100..200).filter(|&who| simulation.request(who, HashKind::Check)).count();
    assert_eq!(admitted, LIMITS.max_places - LIMITS.max_places / NEW_SHARE);
    assert_eq!(simulation.queue.new.len(), LIMITS.max_places / NEW_SHARE);
}

#[test]
fn a_crowd_that_stands_is_cut_to_those_who_came_last() {
    let limits = QueueLimits { crowd: 10, ..LIMITS };
    let mut simulation = Simulation::new(limits);
    for who in 0..30 {
        assert!(simulation.request(who, HashKind::Check), "a burst of many clients may wait");
    }
    simulation.now += limits.patience * 2;
    assert!(!simulation.request(30, HashKind::Check));
    let mut left: Vec<_> = simulation.owners.values().map(|(who, _)| *who).collect();
    left.sort_unstable();
    assert_eq!(left, (20..30).collect::<Vec<_>>());
    assert!(simulation.request(1, HashKind::New), "the other kind has a queue of its own");
}
