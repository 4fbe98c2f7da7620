//! Response times of a node, kept in two ways: the mean of the last ten, as in the reference design, and a decaying peak.
//! Recording does not block, and loses no sample that another thread records at the same time.

use super::{
    moment::Moment,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// The number of response times in the mean.
const RECENT: usize = 10;

/// The mean of the last ten response times.
#[derive(Debug)]
pub(super) struct Recent {
    /// Time of the last sample, or of the node's start, in milliseconds since the balancer's epoch, wrapping.
    stamp: AtomicU32,
    /// Nanoseconds, as the bits of an `f32`.
    samples: [AtomicU32; RECENT],
}

impl Recent {
    /// Starts without samples; the node was added at `now`.
    pub(super) fn new(now: Moment) -> Self {
        Self { stamp: AtomicU32::new(now.millis), samples: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    /// Records a response time; `number` is the number of samples before it.
    pub(super) fn record(&self, number: u64, nanos: f32, now: Moment) {
        self.samples[(number % RECENT as u64) as usize].store(nanos.to_bits(), Ordering::Relaxed);
        if self.stamp.load(Ordering::Relaxed) != now.millis {
            self.stamp.store(now.millis, Ordering::Relaxed);
        }
    }

    /// Returns the mean in nanoseconds, after `count` samples; none before the first.
    pub(super) fn mean(&self, count: u64) -> Option<f64> {
        let count = count.min(RECENT as u64) as usize;
        let nanos = |sample: &AtomicU32| f64::from(f32::from_bits(sample.load(Ordering::Relaxed)));
        (count > 0).then(|| self.samples[..count].iter().map(nanos).sum::<f64>() / count as f64)
    }

    /// Returns the weight of the mean, from 1 down to 0. It halves with each half-life since the last sample, or without samples
    /// since the node was added.
    pub(super) fn weight(&self, now: Moment, half_lives_per_milli: f32) -> f64 {
        f64::from(halved(now.since(self.stamp.load(Ordering::Relaxed)) * half_lives_per_milli))
    }
}

/// A decaying peak: a higher sample replaces it, and without one it halves in each half-life. Value and time share one
/// atomic word, so that they always belong together.
#[derive(Debug)]
pub(super) struct Peak {
    /// Milliseconds since the balancer's epoch, wrapping, and nanoseconds as the bits of an `f32`.
    word: AtomicU64,
}

fn pack(millis: u32, nanos: f32) -> u64 {
    u64::from(millis) << 32 | u64::from(nanos.to_bits())
}

fn unpack(word: u64) -> (u32, f32) {
    ((word >> 32) as u32, f32::from_bits(word as u32))
}

/// Returns 2^-x for x ≥ 0, linear between powers of two. The error is at most 6.1 %, always upwards; it takes a nanosecond
/// instead of twenty.
fn halved(x: f32) -> f32 {
    const MANTISSA: f32 = (1 << 23) as f32;
    if x >= 126.0 { 0.0 } else { f32::from_bits(((127.0 - x) * MANTISSA) as u32) }
}

impl Peak {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    fn at(word: u64, now: Moment, half_lives_per_milli: f32) -> f32 {
        let (stamp, value) = unpack(word);
        value * halved(now.since(stamp) * half_lives_per_milli)
    }

    pub(super) fn record(&self, nanos: f32, now: Moment, half_lives_per_milli: f32) {
        let next = |word| {
            let decayed = Self::at(word, now, half_lives_per_milli);
            // A higher sample replaces the peak; a lower one gets the weight that the peak has lost.
            let value = if nanos > decayed {
                nanos
            } else {
                let kept = decayed / unpack(word).1.max(f32::MIN_POSITIVE);
                decayed + (1.0 - kept) * nanos
            };
            let next = pack(now.millis, value);
            (next != word).then_some(next)
        };
        // An unchanged word is not written.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Returns the peak at `now` in nanoseconds; 0 before the first sample.
    pub(super) fn value(&self, now: Moment, half_lives_per_milli: f32) -> f32 {
        Self::at(self.word.load(Ordering::Relaxed), now, half_lives_per_milli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A half-life of a second.
    const PER_MILLI: f32 = 1e-3;

    fn at(millis: u32) -> Moment {
        Moment { nanos: u64::from(millis) * 1_000_000, millis }
    }

    #[test]
    fn the_mean_covers_the_last_ten_samples() {
        let recent = Recent::new(at(0));
        assert_eq!(recent.mean(0), None);
        (0..4).for_each(|number| recent.record(number, number as f32, at(0)));
        assert_eq!(recent.mean(4), Some(1.5));
        (4..25).for_each(|number| recent.record(number, number as f32, at(0)));
        assert_eq!(recent.mean(25), Some(19.5));
    }

    #[test]
    fn a_peak_rises_at_once_and_halves_in_each_half_life() {
        let peak = Peak::new();
        assert_eq!(peak.value(at(0), PER_MILLI), 0.0);
        peak.record(100.0, at(0), PER_MILLI);
        peak.record(800.0, at(0), PER_MILLI);
        assert_eq!(peak.value(at(0), PER_MILLI), 800.0);
        for (millis, expected) in [(1000, 400.0), (2000, 200.0), (10_000, 0.78125)] {
            assert_eq!(peak.value(at(millis), PER_MILLI), expected);
        }
        assert_eq!(peak.value(at(1_000_000), PER_MILLI), 0.0);
    }

    #[test]
    fn low_samples_do_not_speed_up_the_decay() {
        let peak = Peak::new();
        peak.record(800.0, at(0), PER_MILLI);
        (0..1000).for_each(|_| peak.record(1.0, at(0), PER_MILLI));
        assert_eq!(peak.value(at(0), PER_MILLI), 800.0);
        (1..=10_000).for_each(|millis| peak.record(1.0, at(millis), PER_MILLI));
        let value = peak.value(at(10_000), PER_MILLI);
        assert!((1.0..20.0).contains(&value), "{value}");
    }

    #[test]
    fn a_peak_decays_to_the_samples_and_without_any_to_zero() {
        let (measured, idle) = (Peak::new(), Peak::new());
        for peak in [&measured, &idle] {
            peak.record(800.0, at(0), PER_MILLI);
        }
        for millis in (10..=60_000).step_by(10) {
            measured.record(1.0, at(millis), PER_MILLI);
            let values = [&measured, &idle].map(|peak| peak.value(at(millis), PER_MILLI));
            assert!(values[0] > values[1], "{values:?} after {millis} ms");
        }
        assert!((0.99..1.01).contains(&measured.value(at(60_000), PER_MILLI)));
    }

    #[test]
    fn a_sample_with_a_slightly_later_time_is_not_decayed() {
        let peak = Peak::new();
        peak.record(800.0, at(5), PER_MILLI);
        assert_eq!(peak.value(at(4), PER_MILLI), 800.0);
    }

    #[test]
    fn halving_is_exact_at_whole_numbers_and_close_between() {
        for x in 0..100 {
            assert_eq!(halved(x as f32), 0.5f32.powi(x));
        }
        let worst = (0..1000).map(|x| halved(x as f32 / 100.0) / 0.5f32.powf(x as f32 / 100.0)).fold(0.0, f32::max);
        assert!(worst < 1.062, "{worst}");
    }
}
