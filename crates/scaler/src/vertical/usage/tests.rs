use super::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + minutes * 60_000)
}

/// Returns constant use, with a sample a minute.
fn steady(minutes: i64) -> Usage {
    let mut usage = Usage::default();
    (0..=minutes).for_each(|minute| usage.add(Some(0.5), Some(2e8), at(minute)));
    usage
}

#[test]
fn without_history_nothing_is_recommended() {
    assert_eq!(Usage::default().sizes(), None);
    assert_eq!(steady(0).sizes(), None);
}

#[test]
fn the_request_is_the_use_plus_a_margin() {
    let sizes = steady(60).sizes().unwrap();
    let margin = |value: f64, used: f64| value / used / MARGIN;
    assert!((1.0..1.08).contains(&margin(sizes.cpu_cores.request, 0.5)), "{sizes:?}");
    assert!((1.0..1.08).contains(&margin(sizes.memory_bytes.request, 2e8)), "{sizes:?}");
}

#[test]
fn margins_shrink_with_the_length_of_the_history() {
    // Lower bound: × 0.6 after 5 minutes, × 0.9 after 30, × 0.95 after an hour. Limit: × (1 + 1 / days).
    for (minutes, lower) in [(5, 0.6), (30, 0.9), (60, 0.95)] {
        let cpu = steady(minutes).sizes().unwrap().cpu_cores;
        assert!((cpu.lower_bound / cpu.request - lower).abs() < 0.02, "{minutes}: {cpu:?}");
        let days = minutes as f64 / 1440.0;
        assert!((cpu.limit / cpu.request - (1.0 + 1.0 / days)).abs() < 1e-6, "{minutes}: {cpu:?}");
    }
}

#[test]
fn more_than_one_sample_a_minute_does_not_raise_the_confidence() {
    let mut usage = Usage::default();
    (0..720).for_each(|five| usage.add(Some(0.5), Some(2e8), Timestamp::from_millis(1_700_000_000_000 + five * 5000)));
    let confidence = usage.sizes().unwrap().confidence_days;
    assert!((confidence - 3595.0 / 86_400.0).abs() < 1e-9, "{confidence}");
}

#[test]
fn a_short_memory_peak_counts_for_its_day() {
    let mut usage = steady(600);
    let before = usage.sizes().unwrap().memory_bytes.request;
    usage.add(None, Some(8e8), at(601));
    usage.add(None, Some(2e8), at(602));
    assert!(usage.sizes().unwrap().memory_bytes.request > before * 3.5);
}

#[test]
fn the_minimum_is_25_millicores() {
    let mut usage = Usage::default();
    (0..60).for_each(|minute| usage.add(Some(0.001), Some(1e6), at(minute)));
    assert_eq!(usage.sizes().unwrap().cpu_cores.request, 0.025);
}

#[test]
fn a_checkpoint_keeps_the_recommendations() {
    let mut usage = steady(3000);
    (0..500)
        .for_each(|minute| usage.add(Some(minute as f64 / 500.0), Some(1e8 + 1e6 * minute as f64), at(3000 + minute)));
    let restored: Usage = serde_json::from_str(&serde_json::to_string(&usage).unwrap()).unwrap();
    let (before, after) = (usage.sizes().unwrap(), restored.sizes().unwrap());
    assert_eq!(before.memory_bytes, after.memory_bytes);
    assert!((before.cpu_cores.request / after.cpu_cores.request - 1.0).abs() < 0.06);
    assert_eq!(before.confidence_days, after.confidence_days);
}
