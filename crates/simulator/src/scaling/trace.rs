//! Traces: the number of requests in each bucket of time.

use std::{path::Path, time::Duration};

use time::{PrimitiveDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

/// Request counts in buckets of equal length, without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The length of a bucket, in whole seconds; at least 1 s.
    pub bucket: Duration,
    /// The number of requests in each bucket.
    pub counts: Vec<f64>,
}

/// The text is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read it")]
    Unreadable(#[from] std::io::Error),
    /// A line is not `timestamp,value`.
    #[error(
        "line {0} is not a time (2026-01-31 12:00:00, RFC 3339 or Unix seconds), a comma, and a number that is not negative"
    )]
    Line(usize),
    /// A time is not later than the one before.
    #[error("line {0}: the time is not later than the one before")]
    Order(usize),
    /// There are fewer than two lines of data.
    #[error("it has fewer than two lines of data")]
    Short,
    /// More than half of the buckets are missing.
    #[error("most of its time is gaps")]
    Gaps,
}

impl Trace {
    /// Reads a file of lines `timestamp,value`. A first line without data is a header.
    ///
    /// # Errors
    /// [`TraceError`] if the file cannot be read or is not a trace.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Parses a trace. The length of a bucket is the most common distance between two lines. Missing buckets are interpolated
    /// linearly.
    ///
    /// # Errors
    /// [`TraceError`] if the text is not a trace.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut rows: Vec<(i64, f64)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match row(line) {
                Some(row) if rows.last().is_some_and(|(before, _)| *before >= row.0) => {
                    return Err(TraceError::Order(index + 1));
                }
                Some(row) => rows.push(row),
                None if index == 0 => {}
                None => return Err(TraceError::Line(index + 1)),
            }
        }
        let bucket = commonest(rows.windows(2).map(|pair| pair[1].0 - pair[0].0)).ok_or(TraceError::Short)?;
        let mut counts = Vec::with_capacity(rows.len());
        for pair in rows.windows(2) {
            let ((from, value), (to, next)) = (pair[0], pair[1]);
            // A line that is slightly late is not a gap.
            let steps = ((to - from + bucket / 2) / bucket).max(1);
            if counts.len() as i64 + steps > 2 * rows.len() as i64 + 1 {
                return Err(TraceError::Gaps);
            }
            counts.extend((0..steps).map(|step| value + (next - value) * step as f64 / steps as f64));
        }
        counts.extend(rows.last().map(|(_, value)| *value));
        Ok(Self { bucket: Duration::from_secs(bucket.unsigned_abs()), counts })
    }

    /// Returns the mean count.
    pub fn mean(&self) -> f64 {
        self.counts.iter().sum::<f64>() / self.counts.len() as f64
    }
}

fn row(line: &str) -> Option<(i64, f64)> {
    let (time, value) = line.split_once(',')?;
    let value = value.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
    Some((seconds(time.trim())?, value))
}

fn seconds(text: &str) -> Option<i64> {
    const PLAIN: &[time::format_description::BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    if let Ok(moment) = time::OffsetDateTime::parse(text, &Rfc3339) {
        return Some(moment.to_offset(UtcOffset::UTC).unix_timestamp());
    }
    let moment = PrimitiveDateTime::parse(&text.replacen('T', " ", 1), PLAIN).ok()?;
    Some(moment.assume_utc().unix_timestamp())
}

fn commonest(distances: impl Iterator<Item = i64>) -> Option<i64> {
    let mut times = std::collections::BTreeMap::<i64, usize>::new();
    for distance in distances {
        *times.entry(distance).or_default() += 1;
    }
    times.into_iter().rev().max_by_key(|(_, times)| *times).map(|(distance, _)| distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_plain_rfc_3339_or_unix() {
        let plain = Trace::parse("timestamp,value\n2015-02-26 21:42:53,57\n2015-02-26 21:47:53,43.0\n").unwrap();
        assert_eq!(plain, Trace { bucket: Duration::from_secs(300), counts: vec![57.0, 43.0] });
        assert_eq!(Trace::parse("2015-02-26T21:42:53Z,57\r\n2015-02-26T22:47:53+01:00,43").unwrap(), plain);
        assert_eq!(Trace::parse("1424986973, 57\n1424987273, 43\n\n").unwrap(), plain);
    }

    #[test]
    fn a_missing_bucket_is_interpolated() {
        let trace = Trace::parse("0,10\n60,20\n120,30\n300,60\n").unwrap();
        assert_eq!(trace.counts, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }

    #[test]
    fn a_slightly_late_line_is_not_a_gap() {
        assert_eq!(Trace::parse("0,1\n60,2\n125,3\n180,4\n240,5\n").unwrap().counts.len(), 5);
    }

    #[test]
    fn errors_name_the_line_and_the_reason() {
        let error = |text: &str| Trace::parse(text).unwrap_err().to_string();
        assert!(error("a,b\n0,1\nx,2\n").starts_with("line 3 "));
        assert!(error("0,1\n60,-2\n").starts_with("line 2 "));
        assert!(error("60,1\n60,2\n").starts_with("line 2: the time is not later"));
        assert!(error("60,1\n").contains("fewer than two"));
        assert!(error("0,1\n1,1\n2,1\n9000000000,1\n").contains("gaps"));
    }
}
