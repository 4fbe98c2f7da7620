//! Rules for JSON documents of any shape.
//!
//! The path of a value is kept as a stack and rendered only where a rule is broken: a long key above many broken values
//! costs no more than the violations that are reported.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::{NO_NUL, Rules};
use crate::model::MAX_FIELD_CHARS;

/// How deep a preferences document may nest.
pub const MAX_PREFERENCES_DEPTH: usize = 32;

/// One step from a document to a value in it.
#[derive(Clone, Copy)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

/// Checks the values of a document until enough violations have been found.
pub(super) struct DocumentCheck<'a> {
    rules: &'a mut Rules,
    path: Vec<Segment<'a>>,
}

impl<'a> DocumentCheck<'a> {
    /// A check of the document at `field`.
    pub(super) fn new(rules: &'a mut Rules, field: &'a str) -> Self {
        Self { rules, path: vec![Segment::Key(field)] }
    }

    /// Checks keys and values of an object.
    pub(super) fn object(&mut self, members: &'a Map<String, Value>) {
        for (key, member) in members {
            if self.rules.is_full() {
                return;
            }
            self.text(key);
            self.member(Segment::Key(key), member);
        }
    }

    fn member(&mut self, segment: Segment<'a>, value: &'a Value) {
        self.path.push(segment);
        self.value(value);
        self.path.pop();
    }

    fn value(&mut self, value: &'a Value) {
        // The path holds the document itself too.
        if self.path.len() - 1 > MAX_PREFERENCES_DEPTH {
            return self.broken(&format!("must not nest deeper than {MAX_PREFERENCES_DEPTH} levels"));
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) if !is_exact(number) => self
                .broken("must be an integer from -2^63 to 2^64 - 1 or a decimal within 2^53, so that no digit is lost"),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.rules.is_full() {
                        return;
                    }
                    self.member(Segment::Index(index), item);
                }
            }
            Value::Object(members) => self.object(members),
            _ => {}
        }
    }

    /// PostgreSQL's JSON has no null character, and text that some shards refuse must be refused by all.
    fn text(&mut self, text: &str) {
        if text.contains('\0') {
            self.broken(NO_NUL);
        }
    }

    fn broken(&mut self, detail: &str) {
        if !self.rules.is_full() {
            let field = render(&self.path);
            self.rules.broken(&field, detail);
        }
    }
}

/// The path as text. A long one is cut, but stays longer than a violation shows, so that it is marked as cut.
fn render(path: &[Segment<'_>]) -> String {
    let mut text = String::new();
    for (depth, segment) in path.iter().enumerate() {
        match segment {
            Segment::Key(key) => {
                text.push_str(if depth == 0 { "" } else { "." });
                text.extend(key.chars().take(MAX_FIELD_CHARS + 1));
            }
            // Writing to a string does not fail.
            Segment::Index(index) => drop(write!(text, "[{index}]")),
        }
        if text.chars().nth(MAX_FIELD_CHARS).is_some() {
            break;
        }
    }
    text
}

/// A number that fits no integer type and is too large to have a fraction may have been rounded on its way in.
fn is_exact(number: &Number) -> bool {
    const FRACTIONS_END: f64 = (1u64 << 53) as f64;
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < FRACTIONS_END)
}
