//! Versions of users' rows: `max(old + 1, milliseconds since 1970)`.
//!
//! They grow with every change. They also grow after an import, a restored backup or a failover that lost commits: the next
//! change gets a higher version than any shown before, if clocks differ by less than the time in between. All versions stay
//! below 2^53, up to which Redis scripts calculate exactly.

use crate::clock::Timestamp;

/// Returns the version of a new row.
pub fn first(now: Timestamp) -> i64 {
    next(0, now)
}

/// Returns the version that follows `old`.
pub fn next(old: i64, now: Timestamp) -> i64 {
    old.saturating_add(1).max(now.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_time_unless_the_old_one_is_ahead_of_it() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(first(now), 1_700_000_000_000);
        assert_eq!(next(7, now), 1_700_000_000_000);
        assert_eq!(next(1_700_000_000_000, now), 1_700_000_000_001);
        assert_eq!(next(1_700_000_003_000, now), 1_700_000_003_001);
    }
}
