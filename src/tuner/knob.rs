//! Values of the running service that can be turned. A knob has a fixed ladder of values, from the one of the settings down
//! to the one that relieves most, so nothing that turns it can leave its bounds.

use tokio::sync::watch;

/// A value that can be turned, and its ladder.
#[derive(Debug)]
pub struct Knob {
    /// Its name, unique among knobs.
    pub name: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    /// At least one value; the first is in force while there is no pressure.
    ladder: Vec<u64>,
    value: watch::Sender<u64>,
}

/// Where a component reads what a knob is turned to.
#[derive(Debug, Clone)]
pub struct Dial(watch::Receiver<u64>);

impl Knob {
    /// A knob that starts at `normal`, and what reads it. Each of the further values relieves more than the one before it.
    pub fn new(name: &'static str, unit: &'static str, normal: u64, relieving: Vec<u64>) -> (Self, Dial) {
        let (value, reader) = watch::channel(normal);
        let ladder = std::iter::once(normal).chain(relieving).collect();
        (Self { name, unit, ladder, value }, Dial(reader))
    }

    /// The value in force.
    pub fn value(&self) -> u64 {
        *self.value.borrow()
    }

    /// The value while there is no pressure: the one that the settings give it.
    pub fn normal(&self) -> u64 {
        self.ladder[0]
    }

    /// The least and the greatest value that it can have.
    pub fn bounds(&self) -> (u64, u64) {
        self.ladder.iter().fold((u64::MAX, 0), |(least, most), &value| (least.min(value), most.max(value)))
    }

    /// How often it can be turned on to relieve more.
    pub(super) fn steps(&self) -> usize {
        self.ladder.len() - 1
    }

    /// Turns it `level` steps from normal, or as far as it goes; the values before and after if they differ.
    pub(super) fn turn_to(&self, level: usize) -> Option<(u64, u64)> {
        let (before, after) = (self.value(), self.ladder[level.min(self.steps())]);
        (before != after).then(|| {
            self.value.send_replace(after);
            (before, after)
        })
    }
}

/// The values from below `normal` down to `least`, a quarter less each time and at least one.
pub fn quarter_less(normal: u64, least: u64) -> Vec<u64> {
    let less = |value: &u64| (*value > least).then(|| (value - (value / 4).max(1)).max(least));
    std::iter::successors(less(&normal), less).collect()
}

impl Dial {
    /// A value that nothing turns.
    #[cfg(test)]
    pub fn fixed(value: u64) -> Self {
        Self(watch::channel(value).1)
    }

    /// The value in force.
    pub fn get(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until the knob is turned and returns its value; without end once nothing can turn it any more.
    pub async fn turned(&mut self) -> u64 {
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
    fn a_knob_turns_along_its_ladder_and_no_further() {
        let (knob, dial) = Knob::new("threads", "threads", 4, vec![3, 2, 1]);
        assert_eq!((knob.value(), knob.normal(), knob.bounds()), (4, 4, (1, 4)));
        assert_eq!((knob.turn_to(2), dial.get()), (Some((4, 2)), 2));
        assert_eq!(knob.turn_to(2), None);
        assert_eq!((knob.turn_to(9), dial.get()), (Some((2, 1)), 1));
        assert_eq!((knob.turn_to(0), dial.get()), (Some((1, 4)), 4));
    }

    #[test]
    fn ladders_fall_by_a_quarter_to_the_least() {
        assert_eq!(quarter_less(16, 1), [12, 9, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(quarter_less(1, 1), Vec::<u64>::new());
        assert_eq!(quarter_less(100, 60), [75, 60]);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_dial_is_told_when_it_is_turned() {
        let (knob, mut dial) = Knob::new("threads", "threads", 4, vec![3]);
        knob.turn_to(1);
        assert_eq!(dial.turned().await, 3);
    }
}
