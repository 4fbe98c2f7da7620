//! Versions of users' rows: `max(old + 1, milliseconds since 1970)`.
//!
//! They grow with every change, and also across what sets a row back: an import, a restored backup, a failover that lost
//! commits. What is changed after that has a higher version than all that was ever shown of the row before, by clocks that
//! differ less than the time in between. All stay below 2^53, up to which Redis' scripts count exactly.

use crate::clock::Timestamp;

/// The version of a new row.
pub fn first(now: Timestamp) -> i64 {
    next(0, now)
}

/// The version of a row that is changed; it had `old`.
pub fn next(old: i64, now: Timestamp) -> i64 {
    old.saturating_add(1).max(now.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_time_or_the_next_number_if_that_has_passed_it() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(first(now), 1_700_000_000_000);
        assert_eq!(next(7, now), 1_700_000_000_000);
        assert_eq!(next(1_700_000_000_000, now), 1_700_000_000_001);
        assert_eq!(next(1_700_000_003_000, now), 1_700_000_003_001);
    }
}
