use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use symbolon_balancer::{Algorithm, Caller, NodeSpec, Policy};

use super::*;

fn balancer(ids: &[&str]) -> Arc<Balancer> {
    let balancer = Balancer::new(Algorithm::RoundRobin, Policy::default(), Instant::now());
    balancer.set_nodes(ids.iter().map(|id| spec(id)), Instant::now());
    Arc::new(balancer)
}

fn spec(id: &str) -> NodeSpec {
    NodeSpec {
        id: id.to_owned(),
        url: format!("http://{id}"),
        weight: 1,
        max_connections: 10,
        region: String::new(),
        zone: String::new(),
    }
}

fn healthy(balancer: &Balancer) -> Vec<bool> {
    balancer.nodes().iter().map(|node| node.stats().healthy).collect()
}

#[test]
fn the_first_result_counts_at_once_and_later_ones_only_in_a_row() {
    let policy = CheckPolicy { fall: 3, rise: 2, ..CheckPolicy::default() };
    for (answers, expected) in [
        ("-", "-"),
        ("+", "+"),
        ("+-", "++"),
        ("+---", "+++-"),
        ("+--+--", "++++++"),
        ("---", "---"),
        ("-+-+-", "-----"),
        ("-++-", "--++"),
        ("+---++", "+++--+"),
    ] {
        let mut current = None;
        let health: String = answers
            .chars()
            .map(|answer| {
                let after = Health::after(current, answer == '+', &policy);
                current = Some(after);
                if after.healthy { '+' } else { '-' }
            })
            .collect();
        assert_eq!(health, expected, "after {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_unhealthy_and_does_not_delay_other_checks() {
    let balancer = balancer(&["well", "hangs"]);
    let policy = CheckPolicy { timeout: Duration::from_millis(300), ..CheckPolicy::default() };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let probe = move |node: Arc<Node>| {
        let count = Arc::clone(&count);
        async move {
            if node.spec().id == "hangs" {
                std::future::pending::<()>().await;
            }
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<(), String>(())
        }
    };
    let checks = run(Arc::clone(&balancer), policy, probe, CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_millis(3100), checks).await.is_err());
    assert_eq!(healthy(&balancer), [true, false]);
    assert_eq!(asked.load(Ordering::Relaxed), 4, "at 0, 1, 2 and 3 seconds");
}

#[tokio::test(start_paused = true)]
async fn added_nodes_are_checked_and_readded_nodes_start_anew() {
    let balancer = balancer(&["a"]);
    let failing = Arc::new(Mutex::new(vec!["b"]));
    let fails = Arc::clone(&failing);
    let probe = move |node: Arc<Node>| {
        let result =
            if fails.lock().expect("no panic").contains(&node.spec().id.as_str()) { Err("down") } else { Ok(()) };
        async move { result }
    };
    let stop = CancellationToken::new();
    let checks = tokio::spawn(run(Arc::clone(&balancer), CheckPolicy::default(), probe, stop.clone()));
    let second = || tokio::time::sleep(Duration::from_millis(1100));
    second().await;
    balancer.set_nodes([spec("a"), spec("b")], Instant::now());
    second().await;
    assert_eq!(healthy(&balancer), [true, false], "its first result counts");
    balancer.set_nodes([spec("a")], Instant::now());
    second().await;
    failing.lock().expect("no panic").clear();
    balancer.set_nodes([spec("a"), spec("b")], Instant::now());
    second().await;
    assert_eq!(healthy(&balancer), [true, true]);
    assert!(balancer.nodes().iter().all(|node| node.stats().checked_at.is_some()));
    stop.cancel();
    checks.await.expect("no panic");
}

#[tokio::test]
async fn http_checks_distinguish_ready_not_ready_and_unreachable() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/ready", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        for answer in ["200 OK", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /ready HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    let check = http::HttpCheck::new();
    check.check_ready(&url).await.expect("ready");
    assert!(matches!(check.check_ready(&url).await, Err(http::HttpCheckError::NotReady(status)) if status == 503));
    server.await.expect("no panic");
    assert!(matches!(check.check_ready(&url).await, Err(http::HttpCheckError::Unreachable(_))));
    assert!(matches!(check.check_ready("no URL").await, Err(http::HttpCheckError::Url(_))));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_node_gets_no_requests() {
    let balancer = balancer(&["a", "b", "c"]);
    let probe = |node: Arc<Node>| async move { if node.spec().id == "b" { Err("down") } else { Ok(()) } };
    let checks = run(Arc::clone(&balancer), CheckPolicy::default(), probe, CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_millis(100), checks).await.is_err());
    for _ in 0..9 {
        let lease = balancer.pick(&Caller::default(), Instant::now()).expect("a node");
        assert_ne!(lease.node().spec().id, "b");
    }
}
