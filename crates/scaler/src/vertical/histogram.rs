//! A decaying histogram, as in Kubernetes' Vertical Pod Autoscaler (`recommender/util`): the half-life of samples is a day, and
//! each bucket is 5 % wider than the one before it.
//!
//! Old weights are not reduced. Instead the weight of a new sample grows by two to the power of the half-lives since a reference
//! time, which is moved before the numbers get too large.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

const HALF_LIFE_MS: i64 = 24 * 60 * 60 * 1000;
/// The number of half-lives after which the reference time is moved.
const MAX_EXPONENT: i64 = 100;
const GROWTH: f64 = 1.05;
/// The minimum weight of a bucket that is not empty.
const EPSILON: f64 = 0.0001;
/// The weight of the heaviest bucket in a checkpoint.
const CHECKPOINT_WEIGHT: f64 = 10_000.0;

/// The unit of samples, which determines the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Cores: the first bucket ends at 0.01, the last one begins beyond 1,000.
    Cores,
    /// Bytes: the first bucket ends at 10 MB, the last one begins beyond 1 TB.
    Bytes,
}

/// A decaying histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Checkpoint", into = "Checkpoint")]
pub struct Histogram {
    scheme: Scheme,
    weights: Vec<f64>,
    total: f64,
    reference: Timestamp,
}

/// The stored form, as in `HistogramCheckpoint`: weights in ten-thousandths of the heaviest one, without zeros.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checkpoint {
    scheme: Scheme,
    reference: Timestamp,
    total: f64,
    weights: Vec<(usize, u32)>,
}

/// The checkpoint was not written by a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a histogram's checkpoint")]
pub struct InvalidCheckpoint;

impl Scheme {
    fn first(self) -> f64 {
        match self {
            Self::Cores => 0.01,
            Self::Bytes => 1e7,
        }
    }

    fn largest(self) -> f64 {
        match self {
            Self::Cores => 1e3,
            Self::Bytes => 1e12,
        }
    }

    fn buckets(self) -> usize {
        self.position(self.largest()).ceil() as usize + 1
    }

    fn position(self, value: f64) -> f64 {
        (value * (GROWTH - 1.0) / self.first() + 1.0).ln() / GROWTH.ln()
    }

    fn bucket(self, value: f64) -> usize {
        // Values that are too small, negative or not a number belong to the first bucket.
        (self.position(value.max(0.0)) as usize).min(self.buckets() - 1)
    }

    fn start(self, bucket: usize) -> f64 {
        self.first() * (GROWTH.powi(bucket as i32) - 1.0) / (GROWTH - 1.0)
    }
}

impl Histogram {
    /// Makes an empty histogram.
    pub fn new(scheme: Scheme) -> Self {
        let weights = vec![0.0; scheme.buckets()];
        Self { scheme, weights, total: 0.0, reference: Timestamp::from_millis(0) }
    }

    /// Adds a sample measured at `at`.
    pub fn add(&mut self, value: f64, weight: f64, at: Timestamp) {
        let weight = weight * self.growth(at);
        self.weights[self.scheme.bucket(value)] += weight;
        self.total += weight;
    }

    /// Returns whether all buckets are empty.
    pub fn is_empty(&self) -> bool {
        !self.weights.iter().any(|weight| *weight >= EPSILON)
    }

    /// Returns the end of the bucket at the quantile `part`, 0 to 1 (for the last bucket its start); 0 if the histogram is empty.
    pub fn percentile(&self, part: f64) -> f64 {
        let Some(last) = self.weights.iter().rposition(|weight| *weight >= EPSILON) else { return 0.0 };
        let sums = self.weights.iter().scan(0.0, |sum: &mut f64, weight| {
            *sum += weight;
            Some(*sum)
        });
        let first = self.weights.iter().position(|weight| *weight >= EPSILON).unwrap_or(last);
        let threshold = part * self.total;
        let bucket = sums.enumerate().skip(first).find(|(_, sum)| *sum >= threshold).map_or(last, |(bucket, _)| bucket);
        self.scheme.start((bucket.min(last) + 1).min(self.weights.len() - 1))
    }

    /// Returns the weight of a sample at `at`, relative to one at the reference time.
    fn growth(&mut self, at: Timestamp) -> f64 {
        if at.millis() - self.reference.millis() > HALF_LIFE_MS * MAX_EXPONENT {
            self.move_reference(at);
        }
        (((at.millis() - self.reference.millis()) as f64) / HALF_LIFE_MS as f64).exp2()
    }

    fn move_reference(&mut self, to: Timestamp) {
        let to = (to.millis() + HALF_LIFE_MS / 2).div_euclid(HALF_LIFE_MS) * HALF_LIFE_MS;
        let factor = (((self.reference.millis() - to) / HALF_LIFE_MS) as f64).exp2();
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        self.total *= factor;
        self.reference = Timestamp::from_millis(to);
    }
}

impl From<Histogram> for Checkpoint {
    fn from(histogram: Histogram) -> Self {
        let heaviest = histogram.weights.iter().copied().fold(0.0, f64::max);
        let scaled = |weight: &f64| (weight / heaviest * CHECKPOINT_WEIGHT).round() as u32;
        let weights = histogram.weights.iter().map(scaled).enumerate().filter(|(_, weight)| *weight > 0).collect();
        Self { scheme: histogram.scheme, reference: histogram.reference, total: histogram.total, weights }
    }
}

impl TryFrom<Checkpoint> for Histogram {
    type Error = InvalidCheckpoint;

    fn try_from(checkpoint: Checkpoint) -> Result<Self, Self::Error> {
        let mut histogram = Self { reference: checkpoint.reference, ..Self::new(checkpoint.scheme) };
        let sum: f64 = checkpoint.weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        if !checkpoint.total.is_finite() || checkpoint.total < 0.0 {
            return Err(InvalidCheckpoint);
        }
        if sum > 0.0 {
            for (bucket, weight) in checkpoint.weights {
                *histogram.weights.get_mut(bucket).ok_or(InvalidCheckpoint)? +=
                    f64::from(weight) * checkpoint.total / sum;
            }
            histogram.total = checkpoint.total;
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests;
