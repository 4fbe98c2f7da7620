//! The numeric default of the `range` strategy: keys are numbers below a million, cut into equal ranges.

use std::ops::Range;

use icu_properties::{CodePointMapData, props::GeneralCategory};

/// The size of the key space. Each of n nodes has `1_000_000 / n` numbers, rounded down.
pub(super) const KEYS: u64 = 1_000_000;

/// Returns the range, of `nodes` ranges, that `key` falls into. Numbers past the end belong to the last one.
pub(super) fn numeric_index(key: &str, nodes: usize) -> usize {
    let size = size(nodes);
    usize::try_from(number(key) / size).map_or(nodes - 1, |index| index.min(nodes - 1))
}

/// Iterates over the bounds of the ranges. The last one takes the rest.
pub(super) fn numeric_bounds(nodes: usize) -> impl Iterator<Item = Range<u64>> {
    let size = size(nodes);
    let count = nodes as u64;
    (0..count).map(move |index| {
        let start = (index * size).min(KEYS);
        let end = if index + 1 == count { KEYS } else { ((index + 1) * size).min(KEYS) };
        start..end
    })
}

fn size(nodes: usize) -> u64 {
    (KEYS / nodes as u64).max(1)
}

/// Returns a key as a number, as the Python expression `int(key) if key.isdigit() else ord(key[0])` of the reference design
/// does, but saturating. The empty key is 0.
///
/// Python's `isdigit` is also true for digits that `int` refuses (`²`). The reference design then uses a hash that differs
/// in every process; here such keys count as text.
fn number(key: &str) -> u64 {
    let digits =
        key.chars().try_fold(0u64, |value, c| Some(value.saturating_mul(10).saturating_add(decimal_digit(c)?)));
    let first = key.chars().next().map_or(0, |c| u64::from(u32::from(c)));
    if key.is_empty() { 0 } else { digits.unwrap_or(first) }
}

/// Returns the value of a decimal digit of any script. Unicode keeps the ten digits of a script consecutive and in order,
/// and starts every run of them with a zero (Unicode 4.6, stability of `Nd`).
fn decimal_digit(c: char) -> Option<u64> {
    if let Some(digit) = c.to_digit(10) {
        return Some(u64::from(digit));
    }
    let is_digit =
        |point: u32| CodePointMapData::<GeneralCategory>::new().get32(point) == GeneralCategory::DecimalNumber;
    let point = u32::from(c);
    is_digit(point).then(|| (0..point).rev().take_while(|&before| is_digit(before)).count() as u64 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_count_as_numbers() {
        assert_eq!(number("٤٢"), 42);
        assert_eq!(number("𝟘𝟡"), 9);
        assert_eq!(number("4２"), 42);
    }

    #[test]
    fn text_counts_by_its_first_code_point() {
        assert_eq!(number("éa"), 0xe9);
        assert_eq!(number("4²"), u64::from(u32::from('4')));
        assert_eq!(number(""), 0);
    }

    #[test]
    fn numbers_of_any_length_fall_into_the_last_range() {
        assert_eq!(numeric_index(&"9".repeat(5000), 3), 2);
        assert_eq!(numeric_index("1000000", 3), 2);
    }

    #[test]
    fn bounds_cover_the_key_space_without_gaps() {
        for nodes in [1, 3, 7, 999_999, 1_000_000, 1_000_003] {
            let mut next = 0;
            for range in numeric_bounds(nodes) {
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, KEYS);
        }
    }
}
