//! Knobs: parameters of the running service that can be adjusted. Each has a fixed ladder of values, from the configured one
//! down to the one that relieves most, so no adjustment can leave these bounds.

use tokio::sync::watch;

/// The writing side of a parameter that the tuner adjusts.
#[derive(Debug)]
pub struct Knob {
    /// Unique among knobs.
    pub name: &'static str,
    /// The unit of the values.
    pub unit: &'static str,
    /// At least one value. The first one applies while there is no pressure.
    ladder: Vec<u64>,
    value: watch::Sender<u64>,
}

/// The reading side of a [`Knob`]: a parameter that may change while the service runs.
#[derive(Debug, Clone)]
pub struct Tunable(watch::Receiver<u64>);

impl Knob {
    /// Creates a knob that starts at `normal`, and its reading side. Each value of `relieving` relieves more than the one
    /// before it.
    pub fn new(name: &'static str, unit: &'static str, normal: u64, relieving: Vec<u64>) -> (Self, Tunable) {
        let (value, reader) = watch::channel(normal);
        let ladder = std::iter::once(normal).chain(relieving).collect();
        (Self { name, unit, ladder, value }, Tunable(reader))
    }

    pub fn value(&self) -> u64 {
        *self.value.borrow()
    }

    /// Returns the configured value, which applies while there is no pressure.
    pub fn normal(&self) -> u64 {
        self.ladder[0]
    }

    /// Returns the smallest and the largest possible value.
    pub fn bounds(&self) -> (u64, u64) {
        self.ladder.iter().fold((u64::MAX, 0), |(min, max), &value| (min.min(value), max.max(value)))
    }

    /// Returns how many steps lead from the normal value to the last one.
    pub(super) fn max_level(&self) -> usize {
        self.ladder.len() - 1
    }

    /// Sets the value `level` steps from normal, or the last one. Returns the values before and after if they differ.
    pub(super) fn set_level(&self, level: usize) -> Option<(u64, u64)> {
        let (before, after) = (self.value(), self.ladder[level.min(self.max_level())]);
        (before != after).then(|| {
            self.value.send_replace(after);
            (before, after)
        })
    }
}

/// Returns the values from below `normal` down to `min`. Each is a quarter less than the one before it, and at least one less.
pub fn quarter_steps(normal: u64, min: u64) -> Vec<u64> {
    let less = |value: &u64| (*value > min).then(|| (value - (value / 4).max(1)).max(min));
    std::iter::successors(less(&normal), less).collect()
}

impl Tunable {
    /// Creates a parameter that never changes.
    #[cfg(test)]
    pub fn fixed(value: u64) -> Self {
        Self(watch::channel(value).1)
    }

    pub fn get(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits for the next change and returns the new value. Never returns once the knob is gone.
    pub async fn changed(&mut self) -> u64 {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.0.borrow_and_update()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_moves_along_its_ladder_and_no_further() {
        let (knob, tunable) = Knob::new("threads", "threads", 4, vec![3, 2, 1]);
        assert_eq!((knob.value(), knob.normal(), knob.bounds()), (4, 4, (1, 4)));
        assert_eq!((knob.set_level(2), tunable.get()), (Some((4, 2)), 2));
        assert_eq!(knob.set_level(2), None);
        assert_eq!((knob.set_level(9), tunable.get()), (Some((2, 1)), 1));
        assert_eq!((knob.set_level(0), tunable.get()), (Some((1, 4)), 4));
    }

    #[test]
    fn ladders_fall_by_a_quarter_to_the_minimum() {
        assert_eq!(quarter_steps(16, 1), [12, 9, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(quarter_steps(1, 1), Vec::<u64>::new());
        assert_eq!(quarter_steps(100, 60), [75, 60]);
    }

    #[tokio::test]
    async fn a_reader_that_waits_for_a_change_gets_the_new_value() {
        let (knob, mut tunable) = Knob::new("threads", "threads", 4, vec![3]);
        knob.set_level(1);
        assert_eq!(tunable.changed().await, 3);
    }
}
