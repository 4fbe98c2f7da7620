//! The view of resources that operators have: measurements, their history, and limits.

use serde_json::json;

use crate::support::{Service, eventually, servers::volume::Volume, temporary_directory, until};

#[tokio::test]
async fn resources_are_measured_and_averaged() {
    let service = Service::start().await;
    let read = async |path: &str| service.operator_view(path).await;
    until("there is a measurement", async || read("/resources").await["current"].is_object()).await;
    let resources = read("/resources?window=5m").await;
    for name in [
        "cpu_percent",
        "memory_percent",
        "memory_available_mb",
        "memory_used_mb",
        "disk_usage_percent",
        "disk_free_gb",
        "network_bytes_sent",
        "network_bytes_recv_per_second",
    ] {
        assert!(
            resources["current"][name].is_number() && resources["average"][name].is_number(),
            "{name}: {resources}"
        );
    }
    for source in ["cpu", "memory"] {
        let source = resources["current"]["sources"][source].as_str().expect("a source");
        assert!(["cgroup_v2", "cgroup_v1", "host"].contains(&source), "{source}");
    }
    assert_eq!(read("/resources").await["average"], json!(null));
}

#[tokio::test]
async fn the_history_of_resources_has_bounded_points_oldest_first() {
    let service = Service::with(&[("SYMBOLON_MONITOR_INTERVAL", "1s")]).await;
    let read = async |path: &str| service.operator_view(path).await["points"].clone();
    let fine = "/resources/history?window=1m&points=1000";
    until("there are three measurements", async || read(fine).await.as_array().is_some_and(|all| all.len() >= 3)).await;
    let points = read(fine).await;
    let times: Vec<_> = points.as_array().expect("points").iter().map(|point| point["timestamp"].as_str()).collect();
    assert!(times.len() >= 3 && times.is_sorted(), "{points}");
    let one = read("/resources/history?window=24h&points=1").await;
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert!(one[0]["cpu_percent"].is_number(), "{one}");
}

/// The limit of each resource in percent, and its name in a measurement.
const LIMITS: [(&str, f64, &str); 3] =
    [("cpu", 80.0, "cpu_percent"), ("memory", 85.0, "memory_percent"), ("disk", 90.0, "disk_usage_percent")];

#[tokio::test]
async fn resource_limits_are_checked() {
    // A disk that is full, where one can be mounted. What else this machine is short of is not known.
    let (volume, directory) = (Volume::mount("root", 64), temporary_directory());
    let data = volume.as_ref().map_or(directory.path(), Volume::path).join("data").display().to_string();
    let service = Service::with(&[("SYMBOLON_DATA_DIR", &data), ("SYMBOLON_MONITOR_INTERVAL", "1s")]).await;
    if let Some(volume) = &volume {
        volume.fill();
        let usage = async || service.operator_view("/resources").await["current"]["disk_usage_percent"].as_f64();
        until("the disk is measured as full", async || usage().await > Some(98.0)).await;
    }
    let (measured, limits) = eventually("measurement and limits are of the same time", async || {
        let measured = service.operator_view("/resources").await["current"].clone();
        let limits = service.operator_view("/resources/limits").await;
        let is_same = measured.is_object() && service.operator_view("/resources").await["current"] == measured;
        is_same.then_some((measured, limits)).ok_or_else(|| "a measurement came in between".to_owned())
    })
    .await;
    let violations = limits["violations"].as_array().expect("violations");
    let named: Vec<&str> = violations.iter().filter_map(|violation| violation["resource"].as_str()).collect();
    let exceeds = |(_, limit, name): &(&str, f64, &str)| measured[name].as_f64() > Some(*limit);
    let expected: Vec<&str> = LIMITS.iter().filter(|resource| exceeds(resource)).map(|(name, ..)| *name).collect();
    assert_eq!(named, expected, "{measured}, {limits}");
    assert_eq!(limits["status"], if expected.is_empty() { "ok" } else { "violations" }, "{limits}");
    if volume.is_some() {
        let disk =
            violations.iter().find(|violation| violation["resource"] == "disk").expect("a violation of the disk");
        assert_eq!((&disk["limit"], &disk["severity"]), (&json!(90.0), &json!("high")), "{disk}");
        assert!(disk["current"].as_f64() > Some(98.0) && disk["since"].is_string(), "{disk}");
    }
}
