//! Parsers of the kernel's small files: a number, a list, or lines of a name and a number.

use std::path::Path;

/// Returns the text of a file. Invalid UTF-8 spoils only its own line. None if the file can't be read.
pub(super) fn text(directory: &Path, name: &str) -> Option<String> {
    std::fs::read(directory.join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the number that a file consists of.
pub(super) fn number(directory: &Path, name: &str) -> Option<u64> {
    text(directory, name)?.trim().parse().ok()
}

/// Returns the number that follows `key` in a text such as `memory.stat`.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| match line.split_once(' ') {
        Some((name, value)) if name == key => value.trim().parse().ok(),
        _ => None,
    })
}

/// Returns a limit in bytes; `max` is [`u64::MAX`]. None if it can't be read.
pub(super) fn bytes_or_max(directory: &Path, name: &str) -> Option<u64> {
    match text(directory, name)?.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// Counts the processors in a list such as `0-3,7`. None if it is empty or malformed.
pub(super) fn count_cpus(list: &str) -> Option<u64> {
    let mut count = 0u64;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count = count.saturating_add(last.checked_sub(first)?.saturating_add(1));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let cases =
            [("0", Some(1)), ("0-3,7\n", Some(5)), ("2,4,6-7", Some(4)), ("\n", None), ("3-1", None), ("0-", None)];
        for (list, count) in cases {
            assert_eq!(count_cpus(list), count, "{list:?}");
        }
        assert_eq!(count_cpus("0-18446744073709551615,3"), Some(u64::MAX));
    }

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "inactive_file_x 1\ntotal_inactive_file 2\ninactive_file 3\nbad x\n";
        assert_eq!(value(text, "inactive_file"), Some(3));
        assert_eq!(value(text, "bad"), None);
        assert_eq!(value(text, "absent"), None);
    }
}
