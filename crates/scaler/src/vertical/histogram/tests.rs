use proptest::prelude::*;

use super::*;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + hours * 3_600_000)
}

#[test]
fn an_empty_histogram_has_no_percentiles() {
    let histogram = Histogram::new(Scheme::Cores);
    assert!(histogram.is_empty());
    assert_eq!(histogram.percentile(0.9), 0.0);
}

#[test]
fn percentiles_are_the_ends_of_buckets() {
    let mut histogram = Histogram::new(Scheme::Cores);
    (1..=100).for_each(|percent| histogram.add(f64::from(percent) / 100.0, 1.0, at(0)));
    for part in [0.5, 0.9, 0.95] {
        let percentile = histogram.percentile(part);
        assert!(percentile >= part && percentile <= (part + 0.01) * 1.05 + 0.01, "{part}: {percentile}");
    }
    // The first bucket is 0.01 wide, the second 5 % wider.
    let mut small = Histogram::new(Scheme::Cores);
    small.add(0.003, 1.0, at(0));
    assert!((small.percentile(0.9) - 0.01).abs() < 1e-12);
    small.add(0.015, 100.0, at(0));
    assert!((small.percentile(0.9) - 0.0205).abs() < 1e-12);
}

#[test]
fn the_half_life_is_a_day() {
    // Twice the weight a day ago equals the weight now, so the median is at the border.
    let median = |weight_of_old| {
        let mut histogram = Histogram::new(Scheme::Cores);
        histogram.add(1.0, weight_of_old, at(0));
        histogram.add(5.0, 1.0, at(24));
        histogram.percentile(0.5)
    };
    assert!(median(1.9) > 5.0 && median(2.1) < 1.1);
}

#[test]
fn the_order_of_samples_does_not_matter() {
    let (mut one, mut other) = (Histogram::new(Scheme::Bytes), Histogram::new(Scheme::Bytes));
    let samples = [(2e7, at(0)), (9e8, at(30)), (5e7, at(12))];
    samples.iter().for_each(|(value, time)| one.add(*value, 1.0, *time));
    samples.iter().rev().for_each(|(value, time)| other.add(*value, 1.0, *time));
    assert_eq!(one.percentile(0.6), other.percentile(0.6));
}

#[test]
fn after_a_year_old_samples_are_forgotten_without_overflow() {
    let mut histogram = Histogram::new(Scheme::Cores);
    histogram.add(10.0, 1.0, at(0));
    (0..12).for_each(|month| histogram.add(0.5, 1.0, at(8760 + month * 730)));
    assert!(histogram.total.is_finite());
    assert!(histogram.percentile(1.0) < 0.6);
}

#[test]
fn values_out_of_range_are_in_the_first_and_the_last_bucket() {
    let mut histogram = Histogram::new(Scheme::Cores);
    for value in [-1.0, f64::NAN, 0.0] {
        histogram.add(value, 1.0, at(0));
    }
    assert!(histogram.percentile(1.0) <= 0.01 + 1e-12);
    histogram.add(1e9, 1.0, at(0));
    assert!((1000.0..1100.0).contains(&histogram.percentile(1.0)));
}

#[test]
fn a_checkpoint_with_an_unknown_bucket_is_rejected() {
    let json = r#"{"scheme":"cores","reference":"2026-01-01T00:00:00Z","total":1.0,"weights":[[999,5]]}"#;
    assert!(serde_json::from_str::<Histogram>(json).is_err());
}

proptest! {
    #[test]
    fn a_checkpoint_keeps_the_percentiles(samples in proptest::collection::vec((0.0..64.0, 0..400_i64), 1..200)) {
        let mut histogram = Histogram::new(Scheme::Cores);
        samples.iter().for_each(|(value, hours)| histogram.add(*value, 1.0, at(*hours)));
        let json = serde_json::to_string(&histogram).unwrap();
        let restored: Histogram = serde_json::from_str(&json).unwrap();
        prop_assert!(json.len() < 3000);
        prop_assert!((restored.total / histogram.total - 1.0).abs() < 1e-9);
        // Rounding may move a border slightly.
        for part in [0.5, 0.9, 0.95] {
            let restored = restored.percentile(part);
            let (low, high) = (histogram.percentile(part - 0.02), histogram.percentile(part + 0.02));
            prop_assert!(restored >= low && restored <= high);
        }
    }

    #[test]
    fn percentiles_are_monotone(samples in proptest::collection::vec(0.0..64.0, 1..50)) {
        let mut histogram = Histogram::new(Scheme::Cores);
        samples.iter().for_each(|value| histogram.add(*value, 1.0, at(0)));
        let percentiles: Vec<f64> = (0..=20).map(|part| histogram.percentile(f64::from(part) / 20.0)).collect();
        prop_assert!(percentiles.is_sorted());
    }
}
