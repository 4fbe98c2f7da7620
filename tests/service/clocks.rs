//! Instances whose clocks are wrong.

use symbolon::{clock::Timestamp, fleet::leader::LEASE};

use super::{
    fleet::balancer,
    harness::{Service, until},
    real_stores::TOKEN,
};
use crate::servers::{installed, redis::Redis};

/// What has a process see a time that differs from the machine's.
fn clock_library() -> String {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let candidates = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    installed("libfaketime", candidates).display().to_string()
}

#[tokio::test]
async fn instances_whose_clocks_differ_are_one_fleet_with_one_leader() {
    let (redis, library) = (Redis::start(), clock_library());
    let url = redis.url();
    let settings = |id, offset| {
        [
            // Its buckets are by each instance's own clock.
            ("SYMBOLON_THROTTLE", "off"),
            ("SYMBOLON_INSTANCE_ID", id),
            ("SYMBOLON_REDIS_URL", url.as_str()),
            ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    };
    let right = Service::with(&settings("right", "+0")).await;
    let ahead = right.another_with(&settings("ahead", "+5s")).await;
    let behind = right.another_with(&settings("behind", "-3600s")).await;
    let fleet = [right, ahead, behind];
    until("all show all, and one leader", async || {
        let first = balancer(&fleet[0]).await["leader"].clone();
        let mut agree = first.is_string();
        for instance in &fleet {
            let stats = balancer(instance).await;
            agree &= stats["healthy_nodes"] == 3 && stats["leader"] == first;
        }
        agree
    })
    .await;
    let since = Timestamp::now();
    until("two leases have passed", async || {
        let mut leaders = 0;
        for instance in &fleet {
            let metrics = instance.get("/metrics").bearer(TOKEN).send().await.text;
            leaders += usize::from(metrics.lines().any(|line| line == "symbolon_leader 1.0"));
            assert_eq!(balancer(instance).await["healthy_nodes"], 3);
        }
        assert!(leaders <= 1, "{leaders} lead");
        Timestamp::now().since(since) > 2 * LEASE
    })
    .await;
    // That each is served by its own clock.
    for instance in &fleet {
        instance.member(&format!("user-{}", instance.pid())).await;
    }
}
