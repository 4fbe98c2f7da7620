//! How long a node takes, in two ways: the mean of the last ten, as the seed has it, and an average that rises at once and
//! falls with time. Recording neither waits nor loses a sample that others record at the same time.

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// How many response times the mean is of (`seed.md`).
const RECENT: usize = 10;

/// The mean of the last ten response times.
#[derive(Debug)]
pub(super) struct Recent {
    /// In nanoseconds; at most a minute and more each.
    slots: [AtomicU64; RECENT],
    sum: AtomicU64,
    count: AtomicU32,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0), count: AtomicU32::new(0) }
    }

    pub(super) fn record(&self, nanos: u64) {
        let turn = self.count.fetch_add(1, Ordering::Relaxed) as usize % RECENT;
        let old = self.slots[turn].swap(nanos, Ordering::Relaxed);
        // Wraps to the right sum whatever the order in which others add theirs.
        self.sum.fetch_add(nanos.wrapping_sub(old), Ordering::Relaxed);
    }

    /// In nanoseconds; `None` before the first.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = self.count.load(Ordering::Relaxed).min(RECENT as u32);
        // A sum that is just being changed may look negative.
        let sum = self.sum.load(Ordering::Relaxed).cast_signed().max(0);
        (count > 0).then(|| sum as f64 / f64::from(count))
    }
}

/// An average that takes a higher sample as it is, and halves in each half-life without a higher one: value and time in one
/// word, so that they never come apart.
#[derive(Debug)]
pub(super) struct Peak {
    /// Milliseconds since the balancer's epoch, wrapping, and the bits of the nanoseconds as an `f32`.
    word: AtomicU64,
}

fn pack(millis: u32, nanos: f32) -> u64 {
    u64::from(millis) << 32 | u64::from(nanos.to_bits())
}

fn unpack(word: u64) -> (u32, f32) {
    ((word >> 32) as u32, f32::from_bits(word as u32))
}

/// 2^-x for x ≥ 0, straight between powers of two: at most 6.1 % too high, and a nanosecond instead of twenty.
fn halved(x: f32) -> f32 {
    const MANTISSA: f32 = (1 << 23) as f32;
    if x >= 126.0 { 0.0 } else { f32::from_bits(((127.0 - x) * MANTISSA) as u32) }
}

impl Peak {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    fn at(word: u64, millis: u32, half_life_millis: f32) -> f32 {
        let (stamp, value) = unpack(word);
        value * halved(millis.wrapping_sub(stamp) as f32 / half_life_millis)
    }

    pub(super) fn record(&self, nanos: f32, millis: u32, half_life_millis: f32) {
        let next = |word| {
            let decayed = Self::at(word, millis, half_life_millis);
            let kept = decayed / unpack(word).1.max(f32::MIN_POSITIVE);
            // What has decayed makes room for the sample; a higher one counts whole.
            let value = if nanos > decayed { nanos } else { decayed.min(kept * decayed + (1.0 - kept) * nanos) };
            Some(pack(millis, value))
        };
        // The closure always gives a value, so this can't fail.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// In nanoseconds, as of now; `None` before the first sample.
    pub(super) fn value(&self, millis: u32, half_life_millis: f32) -> Option<f32> {
        let word = self.word.load(Ordering::Relaxed);
        (word != 0).then(|| Self::at(word, millis, half_life_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_the_last_ten() {
        let recent = Recent::new();
        assert_eq!(recent.mean(), None);
        (1..=4).for_each(|sample| recent.record(sample));
        assert_eq!(recent.mean(), Some(2.5));
        (5..=25).for_each(|sample| recent.record(sample));
        assert_eq!(recent.mean(), Some(20.5));
    }

    #[test]
    fn a_mean_recorded_by_many_threads_is_of_ten_samples_that_were_recorded() {
        let recent = Recent::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| recent.record(7)));
            }
        });
        assert_eq!(recent.mean(), Some(7.0));
    }

    #[test]
    fn a_peak_rises_at_once_and_halves_in_each_half_life() {
        let peak = Peak::new();
        assert_eq!(peak.value(0, 1000.0), None);
        peak.record(100.0, 0, 1000.0);
        peak.record(800.0, 0, 1000.0);
        assert_eq!(peak.value(0, 1000.0), Some(800.0));
        for (millis, expected) in [(1000, 400.0), (2000, 200.0), (10_000, 0.78125)] {
            assert_eq!(peak.value(millis, 1000.0), Some(expected));
        }
        assert_eq!(peak.value(1_000_000, 1000.0), Some(0.0));
    }

    #[test]
    fn low_samples_bring_a_peak_down_no_faster_than_time() {
        let peak = Peak::new();
        peak.record(800.0, 0, 1000.0);
        (0..1000).for_each(|_| peak.record(1.0, 0, 1000.0));
        assert_eq!(peak.value(0, 1000.0), Some(800.0));
        (1..=10_000).for_each(|millis| peak.record(1.0, millis, 1000.0));
        let value = peak.value(10_000, 1000.0).expect("a value");
        assert!((1.0..20.0).contains(&value), "{value}");
    }

    #[test]
    fn halving_is_right_at_whole_numbers_and_near_between() {
        for x in 0..100 {
            assert_eq!(halved(x as f32), 0.5f32.powi(x));
        }
        let worst = (0..1000).map(|x| halved(x as f32 / 100.0) / 0.5f32.powf(x as f32 / 100.0)).fold(0.0, f32::max);
        assert!(worst < 1.062, "{worst}");
    }
}
