//! What the demand will be a little later, and how far off that may be.
//!
//! All is on the square root of the demand: there the noise of random arrivals is the same at any rate, and bursts are less
//! lopsided. The forecast is a line in two features, where the demand is and where it is going (a straight line through
//! the last seconds), fitted by least squares to what came of earlier ones; a day old counts half. On a demand that wanders
//! it stays near the last value, on one that oscillates it returns to the mean, on one that ramps it follows the trend:
//! nobody has to say which it is. Until there is history the prior holds: it will be as it is.
//!
//! The headroom is the mean absolute error (of squares a rare burst would rule for days) times a factor, which is learnt
//! too (adaptive conformal inference: Gibbs and Candès 2021): each time the demand was above forecast and headroom it
//! rises, else it falls a little, such that it is above in the part of the time that is asked for, however errors fall.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Over how much time the trend is taken.
const TREND: Duration = Duration::from_secs(20);
/// In how many seconds what was learnt loses half of its weight.
const HALF_LIFE: f64 = 86_400.0;
/// How many observations the prior counts as in the fit.
const PRIOR_FIT: f64 = 20.0;
/// The prior of the mean error, and how many observations it counts as.
const PRIOR_ERROR: f64 = 0.2;
const PRIOR_ERROR_WEIGHT: f64 = 50.0;
/// The factor of the headroom: at first, at least, at most, and by how much it moves.
const FIRST_FACTOR: f64 = 2.5;
const FACTORS: (f64, f64) = (0.5, 15.0);
const FACTOR_STEP: f64 = 0.02;
/// Into how many parts the time looked ahead is cut; of each part one observation is learnt from.
const LESSONS: u32 = 12;
/// Learn from observations that are at least so far apart.
const SHORTEST_LESSON: Duration = Duration::from_secs(5);

/// The features: level, trend, and one.
type Features = [f64; 3];

/// Learns how demand goes on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Forecaster {
    /// How far ahead it learnt to look, in milliseconds.
    horizon_ms: u64,
    observed_at: Option<Timestamp>,
    /// Roots of the demand within [`TREND`].
    recent: VecDeque<(Timestamp, f64)>,
    /// The weighted sums of features by features and of features by what came.
    products: [Features; 3],
    outcomes: Features,
    /// The weighted sum of errors, and the weight.
    errors: f64,
    weight: f64,
    /// What the headroom's factor learnt, above or below the first.
    factor_moved: f64,
    /// Forecasts whose time has not come.
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
    /// Takes the demand now, and forecasts the one after `horizon`.
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
        let lesson = (horizon / LESSONS).max(SHORTEST_LESSON);
        if self.pending.back().is_none_or(|last| now.since(last.at) >= lesson) {
            self.pending.push_back(Pending { at: now, features, expected, deviation });
        }
        let with_headroom = expected + self.factor() * deviation;
        let expected = expected.max(0.0).powi(2);
        Forecast { expected, headroom: (with_headroom.max(0.0).powi(2) - expected).max(0.0) }
    }

    fn factor(&self) -> f64 {
        FIRST_FACTOR + self.factor_moved
    }

    fn forget(&mut self, passed: Duration) {
        let kept = (-passed.as_secs_f64() / HALF_LIFE).exp2();
        let sums = self.products.iter_mut().flatten().chain(&mut self.outcomes);
        sums.chain([&mut self.errors, &mut self.weight]).for_each(|sum| *sum *= kept);
    }

    /// From forecasts whose time has come; those whose time nobody saw are dropped.
    fn learn(&mut self, root: f64, horizon: Duration, risk: f64, now: Timestamp) {
        let late = horizon + (horizon / LESSONS).max(SHORTEST_LESSON) * 2;
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
            self.factor_moved = (self.factor() + step).clamp(FACTORS.0, FACTORS.1) - FIRST_FACTOR;
        }
    }

    /// The straight line through the last seconds: where it ends, and how far it rises.
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

    /// The root that the fit expects: ridge regression towards "as it is".
    fn expect(&self, features: Features) -> f64 {
        let (mut products, mut outcomes) = (self.products, self.outcomes);
        (0..3).for_each(|index| products[index][index] += PRIOR_FIT);
        outcomes[0] += PRIOR_FIT;
        let weights = solve(products, outcomes);
        features.iter().zip(weights).map(|(feature, weight)| feature * weight).sum()
    }
}

/// Solves a system whose matrix is symmetric and positive definite, by elimination.
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
