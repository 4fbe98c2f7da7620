//! Validation of JSON documents of any shape.
//!
//! The path of the current value is a stack, and is rendered only for a violation. So a long key above many invalid values
//! costs no more than the reported violations.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::{NO_NUL, Validator};
use crate::model::MAX_FIELD_CHARS;

/// Maximum nesting depth of a preferences document.
pub const MAX_PREFERENCES_DEPTH: usize = 32;

/// A segment of a path in a document.
#[derive(Clone, Copy)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

/// Checks the values of a document until the maximum of violations is reached.
pub(super) struct DocumentCheck<'a> {
    validator: &'a mut Validator,
    path: Vec<Segment<'a>>,
}

impl<'a> DocumentCheck<'a> {
    pub(super) fn new(validator: &'a mut Validator, field: &'a str) -> Self {
        Self { validator, path: vec![Segment::Key(field)] }
    }

    pub(super) fn object(&mut self, members: &'a Map<String, Value>) {
        for (key, member) in members {
            if self.validator.is_full() {
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
        // The path includes the document itself.
        if self.path.len() - 1 > MAX_PREFERENCES_DEPTH {
            return self.reject(&format!("must not nest deeper than {MAX_PREFERENCES_DEPTH} levels"));
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) if !is_exact(number) => self
                .reject("must be an integer from -2^63 to 2^64 - 1 or a decimal within 2^53, so that no digit is lost"),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.validator.is_full() {
                        return;
                    }
                    self.member(Segment::Index(index), item);
                }
            }
            Value::Object(members) => self.object(members),
            _ => {}
        }
    }

    /// Refuses null characters, which PostgreSQL's JSON type can't store.
    fn text(&mut self, text: &str) {
        if text.contains('\0') {
            self.reject(NO_NUL);
        }
    }

    fn reject(&mut self, detail: &str) {
        if !self.validator.is_full() {
            let field = render(&self.path);
            self.validator.reject(&field, detail);
        }
    }
}

/// Renders the path. A long path is cut, but not below [`MAX_FIELD_CHARS`], so that the violation marks it as cut.
fn render(path: &[Segment<'_>]) -> String {
    let mut text = String::new();
    for (depth, segment) in path.iter().enumerate() {
        match segment {
            Segment::Key(key) => {
                text.push_str(if depth == 0 { "" } else { "." });
                text.extend(key.chars().take(MAX_FIELD_CHARS + 1));
            }
            // Writing to a `String` never fails.
            Segment::Index(index) => drop(write!(text, "[{index}]")),
        }
        if text.chars().nth(MAX_FIELD_CHARS).is_some() {
            break;
        }
    }
    text
}

/// Returns false for a number that fits no integer type and is too large for a fraction: it may have been rounded.
fn is_exact(number: &Number) -> bool {
    const FRACTIONS_END: f64 = (1u64 << 53) as f64;
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < FRACTIONS_END)
}
