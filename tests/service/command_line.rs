//! The command line: settings, and subcommands that need no running instance.

use serde_json::Value;

use crate::support::{Service, run, temporary_directory};

#[tokio::test]
async fn an_invalid_setting_stops_the_start_and_is_named() {
    for (variable, value, setting) in [
        ("SYMBOLON_LISTEN", "nowhere", "listen (from SYMBOLON_LISTEN)"),
        ("SYMBOLON_SESSION_IDLE_TIMEOUT", "0s", "session_idle_timeout"),
        ("SYMBOLON_ARGON2_MEMORY_KIB", "1", "argon2_memory_kib"),
        ("SYMBOLON_STRATEGY", "magic", "strategy (from SYMBOLON_STRATEGY)"),
        ("SYMBOLON_OPERATOR_TOKEN", "short", "operator_token"),
        ("SYMBOLON_REDIS_URL", "redisss://127.0.0.1:1", "redis_url (from SYMBOLON_REDIS_URL)"),
        ("SYMBOLON_SHARDS", "db-node-0=mysql://x", "shards (from SYMBOLON_SHARDS)"),
        ("SYMBOLON_CONFIG", "/nonexistent.toml", "/nonexistent.toml"),
        ("SYMBOLON_DATA_DIR", "/dev/null/data", "data_dir"),
        ("SYMBOLON_LISTEN", "192.0.2.1:80", "listen"),
    ] {
        let (code, out, err) = run(&[], &[(variable, value)], b"").await;
        assert!([1, 2].contains(&code) && out.is_empty(), "{variable}: {code} {out}");
        assert!(err.contains(setting), "{variable}: {err}");
    }
    // A URL may refer to another variable.
    let indirect = [("SYMBOLON_REDIS_URL", "${ELSEWHERE}"), ("ELSEWHERE", "http://127.0.0.1:1")];
    let (code, _, err) = run(&[], &indirect, b"").await;
    assert!(code == 2 && err.contains("redis_url (from SYMBOLON_REDIS_URL)"), "{err}");
    let (code, _, err) = run(&["--no-such-flag"], &[], b"").await;
    assert!(code == 2 && err.contains("--no-such-flag"), "{err}");
}

#[tokio::test]
async fn embedded_storage_refuses_another_placement() {
    let service = Service::start().await;
    let data = service.data();
    let data = data.to_str().expect("a path");
    let (code, _, err) = run(&["--data-dir", data, "--strategy", "hash", "--listen", "127.0.0.1:0"], &[], b"").await;
    assert_eq!(code, 1);
    assert!(err.contains("strategy") && err.contains("consistent_hash"), "{err}");
}

#[tokio::test]
async fn partition_locates_keys_from_standard_input() {
    let arguments = ["partition", "--strategy", "consistent_hash", "--nodes", "db-node-0,db-node-1,db-node-2"];
    let (code, out, _) = run(&arguments, &[], "42\r\né\n\n".as_bytes()).await;
    assert_eq!(code, 0);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["key"].clone()).collect::<Vec<_>>(), ["42", "é", ""]);
    for line in &lines {
        assert_eq!(line.as_object().expect("an object").len(), 3);
        let label = format!("consistent_{}_", line["node_id"].as_str().expect("a node"));
        assert!(line["partition_id"].as_str().expect("an id").starts_with(&label));
    }
}

#[tokio::test]
async fn partition_agrees_with_every_reference_placement() {
    let csv = include_str!("../../crates/partitioner/tests/reference/placements.csv");
    for strategy in ["hash", "range", "consistent_hash"] {
        let rows: Vec<Vec<&str>> =
            csv.lines().map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row[0] == strategy).collect();
        let keys: String = rows.iter().map(|row| format!("{}\n", row[2])).collect();
        let nodes = rows[0][1].replace(';', ",");
        let (_, out, _) = run(&["partition", "--strategy", strategy, "--nodes", &nodes], &[], keys.as_bytes()).await;
        let placed: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(placed.len(), rows.len());
        for (row, placed) in rows.iter().zip(placed) {
            assert_eq!((placed["partition_id"].as_str(), placed["node_id"].as_str()), (Some(row[3]), Some(row[4])));
        }
    }
}

#[tokio::test]
async fn partition_shows_the_keys_that_would_move() {
    let keys: String = (0..1000).map(|key| format!("user-{key}\n")).collect();
    let (code, out, err) = run(&["partition", "--nodes", "a,b,c", "--to", "a,b,c,d"], &[], keys.as_bytes()).await;
    assert_eq!(code, 0);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let moved: Vec<&Value> = lines.iter().filter(|line| line["moves"] == true).collect();
    assert!((100..400).contains(&moved.len()), "{}", moved.len());
    assert!(moved.iter().all(|line| line["to"]["node_id"] == "d" && line["node_id"] != "d"));
    assert!(err.starts_with(&format!("{} of 1000 keys move", moved.len())), "{err}");
}

#[tokio::test]
async fn partition_refuses_invalid_arguments_and_keys() {
    for (arguments, named) in [
        (&["--nodes", ""][..], "--nodes"),
        (&["--nodes", "a,a"], "\"a\""),
        (&["--nodes", "a", "--strategy", "magic"], "'magic'"),
        (&["--nodes", "a=0"], "\"a\""),
        (&["--nodes", "a,b=2", "--strategy", "hash"], "\"b\""),
        (&["--nodes", "a", "--pin", "k=a"], "pins"),
    ] {
        let (code, out, err) = run(&[&["partition"], arguments].concat(), &[], b"k\n").await;
        assert!([1, 2].contains(&code) && out.is_empty(), "{arguments:?}: {code} {out}");
        assert!(err.contains(named), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(&["partition", "--nodes", "a"], &[], b"ok\n\xff\n").await;
    assert!(code == 1 && err.contains("line 2"), "{err}");
}

#[tokio::test]
async fn healthcheck_reports_the_readiness_of_the_instance() {
    let service = Service::start().await;
    let address = service.address();
    let (code, out, _) = run(&["healthcheck"], &[("SYMBOLON_LISTEN", address)], b"").await;
    assert!(code == 0 && out.contains("\"ready\":true"), "{out}");
    let (code, _, err) = run(&["healthcheck"], &[("SYMBOLON_LISTEN", "127.0.0.1:1")], b"").await;
    assert!(code == 1 && err.contains("127.0.0.1:1"), "{err}");
}

#[tokio::test]
async fn an_address_in_use_stops_the_start() {
    let service = Service::start().await;
    let address = service.address();
    let (code, _, err) = run(&["--listen", address], &[], b"").await;
    assert!(code == 1 && err.contains("listen: cannot listen on"), "{err}");
}

#[tokio::test]
async fn simulate_scaling_replays_a_trace_through_every_policy() {
    let directory = temporary_directory();
    let path = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let rows = (0..12).map(|bucket| format!("2026-01-01 00:{:02}:00,{}\n", bucket * 5, 100 + 40 * (bucket % 3)));
    let text = rows.collect::<String>();
    std::fs::write(path("trace.csv"), format!("timestamp,value\n{text}")).expect("a file");
    let (trace, svg) = (path("trace.csv"), path("chart.svg"));
    let arguments = ["simulate", "scaling", "--trace", &trace, "--json", "--svg", &svg];
    let (code, out, err) = run(&arguments, &[], b"").await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let policies: Vec<&Value> = lines.iter().map(|line| &line["policy"]).collect();
    assert_eq!(policies, ["demand", "threshold", "hpa", "kpa"]);
    assert!(lines.iter().all(|line| line["kind"] == "run" && line["seconds"] == 3600));
    assert!(std::fs::read_to_string(&svg).expect("a chart").starts_with("<svg"));

    let sweep = ["simulate", "scaling", "--trace", &trace, "--sweep", "--policy", "demand", "--policy", "hpa"];
    let (code, out, err) = run(&sweep, &[], b"").await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Violation seconds at equal node-seconds"), "{out}");

    let (code, _, err) = run(&["simulate", "scaling", "--trace", &path("none.csv")], &[], b"").await;
    assert!(code == 1 && err.contains("none.csv"), "{err}");
}
