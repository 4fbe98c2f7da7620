use super::*;

fn gate(limit: u32) -> Gate<u8> {
    Gate::new(GatePolicy::new(limit, limit))
}

fn admit(gate: &Gate<u8>) -> impl Future<Output = Result<Permit<u8>, Rejected>> {
    gate.admit(None, Kind::Read, 0)
}

/// Starts a request and waits until it is in the queue.
async fn queued(gate: &Gate<u8>) -> tokio::task::JoinHandle<Result<Permit<u8>, Rejected>> {
    let waiting = gate.stats().waiting;
    let task = tokio::spawn({
        let gate = gate.clone();
        async move { admit(&gate).await }
    });
    while gate.stats().waiting == waiting {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_gets_a_returned_permit_or_is_rejected_at_its_deadline() {
    let gate = gate(1);
    let permit = admit(&gate).await.expect("a permit");
    let waiting = queued(&gate).await;
    drop(permit);
    let permit = waiting.await.expect("no panic").expect("a permit");
    let start = tokio::time::Instant::now();
    assert_eq!(admit(&gate).await.expect_err("no permit"), Rejected);
    assert!((QUEUE_DEADLINE..2 * QUEUE_DEADLINE).contains(&start.elapsed()));
    drop(permit);
    let requests = gate.stats();
    assert_eq!((requests.offered, requests.admitted, requests.rejected, requests.queued), (3, 2, 1, 2));
    assert_eq!((requests.in_flight, requests.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_leaves_the_queue() {
    let gate = gate(1);
    let permit = admit(&gate).await.expect("a permit");
    let waiting = queued(&gate).await;
    waiting.abort();
    assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
    let requests = gate.stats();
    assert_eq!((requests.abandoned, requests.waiting, requests.rejected), (1, 0, 0));
    drop(permit);
    assert_eq!(gate.stats().in_flight, 0);
}

#[tokio::test]
async fn a_permit_is_returned_with_its_last_clone() {
    let gate = gate(1);
    let permit = admit(&gate).await.expect("a permit");
    let (task, body) = (permit.clone(), permit.clone());
    drop((permit, body));
    assert_eq!(gate.stats().in_flight, 1);
    drop(task);
    assert_eq!(gate.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_paused_request_is_not_in_flight() {
    let gate = gate(1);
    let slow = admit(&gate).await.expect("a permit");
    let waiting = queued(&gate).await;
    slow.pause();
    slow.pause();
    let permit = waiting.await.expect("no panic").expect("the permit of the paused request");
    slow.resume();
    slow.resume();
    assert_eq!(gate.stats().in_flight, 2);
    slow.pause();
    drop((slow, permit));
    assert_eq!(gate.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_rejected_at_once_if_the_queue_is_full() {
    let gate = gate(1);
    let _permit = admit(&gate).await.expect("a permit");
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(queued(&gate).await);
    }
    let start = tokio::time::Instant::now();
    assert_eq!(admit(&gate).await.expect_err("no permit"), Rejected);
    assert_eq!((start.elapsed(), gate.stats().rejected), (Duration::ZERO, 1));
    assert!(waiting.iter().all(|waits| !waits.is_finished()));
}
