/// Maximum length of [`Violation::field`] in characters. The field may contain client input.
pub(crate) const MAX_FIELD_CHARS: usize = 200;

/// Maximum length of [`Violation::detail`] in characters.
const MAX_DETAIL_CHARS: usize = 500;

/// A value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path in the request, such as `profile.email`. A long path is cut and ends with `…`.
    pub field: String,
    /// The broken rule, as a phrase that follows the field: "must not be empty".
    pub detail: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: cut(field.into(), MAX_FIELD_CHARS), detail: cut(detail.into(), MAX_DETAIL_CHARS) }
    }
}

/// Cuts text to at most `max` characters. A cut text ends with `…`.
fn cut(mut text: String, max: usize) -> String {
    if text.chars().nth(max).is_some() {
        let end = text.char_indices().nth(max - 1).map_or(0, |(end, _)| end);
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}
