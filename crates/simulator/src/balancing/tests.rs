use super::*;

fn report(algorithm: Algorithm, scenario: Scenario) -> Report {
    run(algorithm, scenario, Settings { time: Duration::from_secs(30), ..Settings::default() })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(report(Algorithm::PeakEwma, Scenario::Slow), report(Algorithm::PeakEwma, Scenario::Slow));
}

#[test]
fn healthy_nodes_get_equal_shares_without_errors() {
    for &algorithm in Algorithm::ALL {
        let report = report(algorithm, Scenario::Healthy);
        assert_eq!(report.errors, 0.0, "{algorithm}");
        // Algorithms that use past latencies alone send all requests to one node, then to the next.
        let herds = matches!(algorithm, Algorithm::LeastResponseTime | Algorithm::HealthBased);
        assert!(herds || (0.15..0.18).contains(&report.share), "{algorithm}: {report:?}");
    }
}

#[test]
fn a_node_that_fails_fast_causes_few_errors_with_every_algorithm() {
    for &algorithm in Algorithm::ALL {
        let report = report(algorithm, Scenario::Failing);
        assert!(report.errors < 0.01 && report.share < 0.01, "{algorithm}: {report:?}");
    }
}

#[test]
fn load_aware_algorithms_avoid_a_slow_node() {
    let blind = report(Algorithm::RoundRobin, Scenario::Slow);
    // least_response_time uses the past only: all requests go to the best node until it is the worst.
    for algorithm in [Algorithm::LeastConnections, Algorithm::PeakEwma] {
        let report = report(algorithm, Scenario::Slow);
        assert!(report.share < blind.share / 2.0 && report.p99_ms < blind.p99_ms / 2.0, "{report:?} {blind:?}");
    }
}

#[test]
fn a_new_node_is_not_overloaded() {
    for &algorithm in Algorithm::ALL {
        let report = report(algorithm, Scenario::New);
        assert!(report.share < 0.25 && report.errors == 0.0, "{algorithm}: {report:?}");
    }
}

#[test]
fn half_a_zone_is_not_overloaded_by_its_callers() {
    let report = report(Algorithm::Geographic, Scenario::HalfAZone);
    assert!(report.p99_ms < 200.0, "{report:?}");
}
