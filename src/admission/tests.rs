use std::future::Future;

use super::*;

fn admission(places: u32) -> Admission {
    Admission::new(AdmissionPolicy {
        enabled: true,
        least: places,
        most: places,
        hash_deadline: Duration::from_secs(2),
    })
}

fn admit(admission: &Admission) -> impl Future<Output = Result<Permit, Shed>> {
    admission.admit(Class::Request, None, Kind::Read, Network::Unknown)
}

/// Has a request wait until it is in the queue.
async fn queued(admission: &Admission) -> tokio::task::JoinHandle<Result<Permit, Shed>> {
    let waiting = admission.stats().requests.waiting;
    let task = tokio::spawn({
        let admission = admission.clone();
        async move { admit(&admission).await }
    });
    while admission.stats().requests.waiting == waiting {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_place_of_one_that_ends_or_is_refused_when_the_time_is_up() {
    let admission = admission(1);
    let permit = admit(&admission).await.expect("a place");
    let waiting = queued(&admission).await;
    drop(permit);
    let permit = waiting.await.expect("no panic").expect("a place");
    let begun = tokio::time::Instant::now();
    assert_eq!(admit(&admission).await.expect_err("no place"), Shed);
    assert!((QUEUE_DEADLINE..2 * QUEUE_DEADLINE).contains(&begun.elapsed()));
    drop(permit);
    let requests = admission.stats().requests;
    assert_eq!((requests.offered, requests.admitted, requests.shed, requests.queued), (3, 2, 1, 2));
    assert_eq!((requests.in_flight, requests.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_the_queue() {
    let admission = admission(1);
    let permit = admit(&admission).await.expect("a place");
    let waiting = queued(&admission).await;
    waiting.abort();
    assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
    let requests = admission.stats().requests;
    assert_eq!((requests.abandoned, requests.waiting, requests.shed), (1, 0, 0));
    drop(permit);
    assert_eq!(admission.stats().requests.in_flight, 0);
}

#[tokio::test]
async fn a_place_is_free_when_the_last_who_works_on_the_request_is_done() {
    let admission = admission(1);
    let permit = admit(&admission).await.expect("a place");
    let (task, body) = (permit.clone(), permit.clone());
    drop((permit, body));
    assert_eq!(admission.stats().requests.in_flight, 1);
    drop(task);
    assert_eq!(admission.stats().requests.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_client_has_no_place() {
    let admission = admission(1);
    let slow = admit(&admission).await.expect("a place");
    let waiting = queued(&admission).await;
    slow.pause();
    slow.pause();
    let permit = waiting.await.expect("no panic").expect("the place of the one that is slow");
    slow.resume();
    slow.resume();
    assert_eq!(admission.stats().requests.in_flight, 2);
    slow.pause();
    drop((slow, permit));
    assert_eq!(admission.stats().requests.in_flight, 0);
}

#[tokio::test]
async fn classes_have_places_of_their_own() {
    let admission = admission(1);
    let _login = admission.admit(Class::Login, None, Kind::Change, Network::Unknown).await.expect("a place");
    let _request = admit(&admission).await.expect("a place");
    assert!(admission.admit(Class::Login, None, Kind::Change, Network::Unknown).await.is_err());
}

#[tokio::test]
async fn switched_off_it_lets_everybody_in_and_counts() {
    let policy = AdmissionPolicy { enabled: false, least: 1, most: 1, hash_deadline: Duration::from_secs(2) };
    let admission = Admission::new(policy);
    let mut permits = Vec::new();
    for _ in 0..10_000 {
        permits.push(admit(&admission).await.expect("a place"));
    }
    assert_eq!((admission.stats().requests.admitted, admission.stats().requests.in_flight), (10_000, 10_000));
}

#[tokio::test(start_paused = true)]
async fn who_finds_too_many_waiting_is_refused_at_once() {
    let admission = admission(1);
    let _permit = admit(&admission).await.expect("a place");
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(queued(&admission).await);
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(admit(&admission).await.expect_err("no place"), Shed);
    assert_eq!((begun.elapsed(), admission.stats().requests.shed), (Duration::ZERO, 1));
    assert!(waiting.iter().all(|waits| !waits.is_finished()));
}
