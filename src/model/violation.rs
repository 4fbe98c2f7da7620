/// The most characters of a violation's field, which may repeat what a client sent.
pub(crate) const MAX_FIELD_CHARS: usize = 200;

/// The most characters of a violation's rule.
const MAX_DETAIL_CHARS: usize = 500;

/// A value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it is in the request, dotted: `profile.email`. A long path is cut and ends with `…`.
    pub field: String,
    /// The rule, as the end of a sentence that begins with the field.
    pub detail: String,
}

impl Violation {
    /// A violation of the rule `detail` by `field`.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: cut(field.into(), MAX_FIELD_CHARS), detail: cut(detail.into(), MAX_DETAIL_CHARS) }
    }
}

/// Shortens text to at most `max` characters, of which the last then says so.
fn cut(mut text: String, max: usize) -> String {
    if text.chars().nth(max).is_some() {
        let end = text.char_indices().nth(max - 1).map_or(0, |(end, _)| end);
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}
