//! The requests that arrive in each second.
//!
//! The running total of a trace is interpolated by a monotone cubic (Fritsch and Carlson 1980, with harmonic means as slopes). So
//! every bucket keeps its count, and the rate is continuous and never negative. Arrivals in a second are Poisson distributed.

use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution, Poisson};

use super::Trace;

/// The requests of each second.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// Running totals: the number of requests before each second.
    before: Vec<u64>,
}

impl Arrivals {
    /// Makes arrivals of a trace whose counts are multiplied by `scale`.
    pub fn new(trace: &Trace, scale: f64, seed: u64) -> Self {
        let length = trace.bucket.as_secs() as usize;
        let rates: Vec<f64> = trace.counts.iter().map(|count| count * scale / length as f64).collect();
        let slope = |index: usize| match (index.checked_sub(1).map(|before| rates[before]), rates.get(index)) {
            (Some(before), Some(after)) if before + after > 0.0 => 2.0 * before * after / (before + after),
            (Some(_), Some(_)) => 0.0,
            (Some(rate), None) => rate,
            (None, rate) => rate.copied().unwrap_or_default(),
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let seconds = rates.iter().enumerate().flat_map(|(bucket, rate)| {
            let (begins, ends) = (slope(bucket), slope(bucket + 1));
            (0..length).map(move |second| {
                let s = (second as f64 + 0.5) / length as f64;
                6.0 * rate * s * (1.0 - s) + begins * (1.0 - s) * (1.0 - 3.0 * s) + ends * s * (3.0 * s - 2.0)
            })
        });
        Self::from_counts(seconds.map(|rate| {
            // A rate of 0, or slightly below by rounding, has no distribution.
            Poisson::new(rate).map_or(0.0, |distribution: Poisson<f64>| distribution.sample(&mut rng)) as u64
        }))
    }

    /// Makes arrivals of exact counts, one for each second.
    pub fn from_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let totals = counts.into_iter().scan(0, |total: &mut u64, count| {
            *total += count;
            Some(*total)
        });
        Self { before: std::iter::once(0).chain(totals).collect() }
    }

    /// Returns the number of seconds.
    pub fn seconds(&self) -> usize {
        self.before.len() - 1
    }

    /// Returns the number of requests in a second.
    ///
    /// # Panics
    /// If `second` is not below [`Self::seconds`].
    pub fn at(&self, second: usize) -> u64 {
        self.before[second + 1] - self.before[second]
    }

    /// Returns the mean number of requests a second from second `from` to before second `to`; 0 if that is empty.
    ///
    /// # Panics
    /// If `to` is above [`Self::seconds`].
    pub fn mean(&self, from: usize, to: usize) -> f64 {
        if from >= to { 0.0 } else { (self.before[to] - self.before[from]) as f64 / (to - from) as f64 }
    }

    /// Returns the number of all requests.
    pub fn total(&self) -> u64 {
        self.before[self.seconds()]
    }
}
