//! Short-term forecast of the demand, and of its own error.
//!
//! All computations use the square root of the demand, where the noise of random arrivals is independent of the rate and bursts
//! are less skewed. The forecast is linear in two features, the level and the trend (a straight line through the last seconds),
//! fitted by least squares to earlier observations, with a half-life of a day. On a random walk it stays near the last value,
//! on an oscillation it returns to the mean, and on a ramp it follows the trend, without configuration. Without history the
//! prior applies: the demand stays as it is.
//!
//! The headroom is the mean absolute error times a factor. (With squared errors a rare burst would dominate for days.) The factor
//! is learned by adaptive conformal inference (Gibbs and Candès 2021): it rises whenever the demand exceeds forecast and
//! headroom, and falls slightly otherwise, so that the demand exceeds them in the requested share of time, regardless of how
//! errors are distributed.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The time over which the trend is computed.
const TREND: Duration = Duration::from_secs(20);
/// Half-life of learned sums, in seconds.
const HALF_LIFE: f64 = 86_400.0;
/// The weight of the prior in the fit, in observations.
const PRIOR_FIT: f64 = 20.0;
/// The prior of the mean error, and its weight in observations.
const PRIOR_ERROR: f64 = 0.2;
const PRIOR_ERROR_WEIGHT: f64 = 50.0;
/// The factor of the headroom: initial value, bounds, and step.
const INITIAL_FACTOR: f64 = 2.5;
const FACTOR_BOUNDS: (f64, f64) = (0.5, 15.0);
const FACTOR_STEP: f64 = 0.02;
/// The number of observations per horizon that the fit learns from.
const LESSONS_PER_HORIZON: u32 = 12;
/// The minimum time between observations that the fit learns from.
const MIN_LESSON_INTERVAL: Duration = Duration::from_secs(5);

/// Level, trend, and the constant 1.
type Features = [f64; 3];

/// Forecasts the demand, and learns from the outcome.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Forecaster {
    /// The horizon that was learned, in milliseconds.
    horizon_ms: u64,
    observed_at: Option<Timestamp>,
    /// Square roots of the demand within [`TREND`].
    recent: VecDeque<(Timestamp, f64)>,
    /// Weighted sums of the products of features, and of features and outcomes.
    products: [Features; 3],
    outcomes: Features,
    /// Weighted sum of errors, and its weight.
    errors: f64,
    weight: f64,
    /// Learned deviation of the factor from [`INITIAL_FACTOR`].
    factor_moved: f64,
    /// Forecasts without an outcome so far.
    pending: VecDeque<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    at: Timestamp,
    features: Features,
    expected: f64,
    deviation: f64,
}

/// A forecast, in instances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    pub expected: f64,
    pub headroom: f64,
}

impl Forecaster {
    /// Records the demand at `now`, and forecasts the demand after `horizon`.
    pub(super) fn observe(&mut self, demand: f64, horizon: Duration, risk: f64, now: Timestamp) -> Forecast {
        let horizon_ms = horizon.as_millis() as u64;
        let clock_went_back = self.observed_at.is_some_and(|at| at > now);
        if self.horizon_ms != horizon_ms || clock_went_back {
            *self = Self { horizon_ms, ..Self::default() };
        }
        let passed = self.observed_at.map_or(Duration::ZERO, |at| now.since(at));
        self.observed_at = Some(now);
        let root = demand.sqrt();
        self.forget(passed);
        self.learn(root, horizon, risk, now);
        let features = self.features(root, now);
        let expected = self.expect(features);
        let errors = self.errors + PRIOR_ERROR * PRIOR_ERROR_WEIGHT;
        let deviation = errors / (self.weight + PRIOR_ERROR_WEIGHT);
        let lesson = (horizon / LESSONS_PER_HORIZON).max(MIN_LESSON_INTERVAL);
        if self.pending.back().is_none_or(|last| now.since(last.at) >= lesson) {
            self.pending.push_back(Pending { at: now, features, expected, deviation });
        }
        let with_headroom = expected + self.factor() * deviation;
        let expected = expected.max(0.0).powi(2);
        Forecast { expected, headroom: (with_headroom.max(0.0).powi(2) - expected).max(0.0) }
    }

    fn factor(&self) -> f64 {
        INITIAL_FACTOR + self.factor_moved
    }

    fn forget(&mut self, passed: Duration) {
        let kept = (-passed.as_secs_f64() / HALF_LIFE).exp2();
        let sums = self.products.iter_mut().flatten().chain(&mut self.outcomes);
        sums.chain([&mut self.errors, &mut self.weight]).for_each(|sum| *sum *= kept);
    }

    /// Learns from forecasts whose time has come. Forecasts whose outcome was not observed in time are dropped.
    fn learn(&mut self, root: f64, horizon: Duration, risk: f64, now: Timestamp) {
        let late = horizon + (horizon / LESSONS_PER_HORIZON).max(MIN_LESSON_INTERVAL) * 2;
        while let Some(lesson) = self.pending.pop_front_if(|pending| now.since(pending.at) >= horizon) {
            if now.since(lesson.at) > late {
                continue;
            }
            for (row, feature) in self.products.iter_mut().zip(lesson.features) {
                row.iter_mut().zip(lesson.features).for_each(|(sum, other)| *sum += feature * other);
            }
            self.outcomes.iter_mut().zip(lesson.features).for_each(|(sum, feature)| *sum += feature * root);
            let error = root - lesson.expected;
            self.errors += error.abs();
            self.weight += 1.0;
            let missed = error > self.factor() * lesson.deviation;
            let step = FACTOR_STEP * if missed { 1.0 - risk } else { -risk };
            self.factor_moved = (self.factor() + step).clamp(FACTOR_BOUNDS.0, FACTOR_BOUNDS.1) - INITIAL_FACTOR;
        }
    }

    /// Fits a straight line to the last seconds; its end is the level, its rise the trend.
    fn features(&mut self, root: f64, now: Timestamp) -> Features {
        while self.recent.pop_front_if(|(at, _)| now.since(*at) > TREND).is_some() {}
        self.recent.push_back((now, root));
        let count = self.recent.len() as f64;
        let ago = |at: &Timestamp| -now.since(*at).as_secs_f64() / TREND.as_secs_f64();
        let (times, roots) = self.recent.iter().fold((0.0, 0.0), |(t, r), (at, root)| (t + ago(at), r + root));
        let (mean_time, mean) = (times / count, roots / count);
        let (mut variance, mut covariance) = (0.0, 0.0);
        for (at, root) in &self.recent {
            let distance = ago(at) - mean_time;
            variance += distance * distance;
            covariance += distance * (root - mean);
        }
        let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
        [mean - slope * mean_time, slope, 1.0]
    }

    /// Returns the expected square root: ridge regression with the prior that the demand stays as it is.
    fn expect(&self, features: Features) -> f64 {
        let (mut products, mut outcomes) = (self.products, self.outcomes);
        (0..3).for_each(|index| products[index][index] += PRIOR_FIT);
        outcomes[0] += PRIOR_FIT;
        let weights = solve(products, outcomes);
        features.iter().zip(weights).map(|(feature, weight)| feature * weight).sum()
    }
}

/// Solves a symmetric positive definite system by elimination.
fn solve(mut matrix: [Features; 3], mut right: Features) -> Features {
    for pivot in 0..3 {
        for row in pivot + 1..3 {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let subtracted = matrix[pivot].map(|value| factor * value);
            matrix[row].iter_mut().zip(subtracted).for_each(|(value, less)| *value -= less);
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests;
