//! Validation of user data, for the API and imports alike.

mod document;

use document::DocumentCheck;
pub use document::MAX_PREFERENCES_DEPTH;
use serde_json::{Map, Value};

use crate::model::Violation;
use crate::model::{
    LoginName, Profile,
    login_name::{LoginNameError, canonical},
};
use crate::passwords::Password;

pub const MIN_PASSWORD_CHARS: usize = 8;
pub const MAX_PASSWORD_CHARS: usize = 256;
pub const MAX_NAME_CHARS: usize = 200;
/// From RFC 5321.
pub const MAX_EMAIL_CHARS: usize = 254;
/// Size of the JSON text.
pub const MAX_PREFERENCES_BYTES: usize = 64 * 1024;
/// Bounds the answer: a document may have as many violations as values.
pub const MAX_VIOLATIONS: usize = 20;

/// Collects violations, so that a client learns of several at once. Checking stops at [`MAX_VIOLATIONS`].
#[derive(Debug, Default)]
pub struct Validator(Vec<Violation>);

impl Validator {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the violations, or `Ok` if there are none.
    pub fn finish(self) -> Result<(), Vec<Violation>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    fn reject(&mut self, field: &str, detail: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Violation::new(field, detail));
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_VIOLATIONS
    }

    /// Checks a login name and returns it in canonical form.
    pub fn login_name(&mut self, field: &str, text: &str) -> Option<LoginName> {
        LoginName::parse(text).map_err(|error: LoginNameError| self.reject(field, error.to_string())).ok()
    }

    /// Checks a newly chosen login name and returns it in canonical form.
    pub fn new_login_name(&mut self, field: &str, text: &str) -> Option<LoginName> {
        LoginName::parse_new(text).map_err(|error: LoginNameError| self.reject(field, error.to_string())).ok()
    }

    /// Checks a new password in normalized form.
    pub fn new_password(&mut self, field: &str, password: &Password, login_name: Option<&LoginName>) {
        let password = password.normalized();
        let text = password.reveal();
        let length = text.chars().count();
        if !(MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS).contains(&length) {
            self.reject(field, format!("must have {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters"));
        } else if text.contains('\0') {
            self.reject(field, NO_NUL);
        } else if login_name.is_some_and(|name| canonical(text) == name.as_str()) {
            self.reject(field, "must differ from the login name");
        }
    }

    /// Checks name and e-mail address of the profile at `field`.
    pub fn profile(&mut self, field: &str, profile: &Profile) {
        let text = &profile.name;
        let name = format!("{field}.name");
        if text.trim().is_empty() || text.chars().nth(MAX_NAME_CHARS).is_some() {
            self.reject(&name, format!("must have 1 to {MAX_NAME_CHARS} characters and not only blanks"));
        } else if text.chars().any(char::is_control) {
            self.reject(&name, "must not contain control characters");
        }
        let email = format!("{field}.email");
        if profile.email.chars().nth(MAX_EMAIL_CHARS).is_some() {
            self.reject(&email, format!("must be at most {MAX_EMAIL_CHARS} characters long"));
        } else if !is_email(&profile.email) {
            self.reject(&email, "must be an e-mail address, such as ada@example.com");
        }
    }

    pub fn preferences(&mut self, field: &str, document: &Map<String, Value>) {
        DocumentCheck::new(self, field).object(document);
        let size = serde_json::to_string(document).map_or(usize::MAX, |text| text.len());
        if size > MAX_PREFERENCES_BYTES {
            self.reject(field, format!("must have at most {MAX_PREFERENCES_BYTES} bytes as JSON, but has {size}"));
        }
    }
}

/// Applies a JSON Merge Patch (RFC 7396).
///
/// # Errors
/// The violations of the merged document.
pub fn merge_preferences(document: Map<String, Value>, patch: &Value) -> Result<Map<String, Value>, Vec<Violation>> {
    let mut merged = Value::Object(document);
    json_patch::merge(&mut merged, patch);
    let Value::Object(merged) = merged else {
        return Err(vec![Violation::new("preferences", "must stay a JSON object")]);
    };
    let mut validator = Validator::new();
    validator.preferences("preferences", &merged);
    validator.finish().map(|()| merged)
}

const NO_NUL: &str = "must not contain the null character";

/// Checks the rough form of an e-mail address: one `@` with text on both sides. Only a sent mail can verify an address.
fn is_email(text: &str) -> bool {
    let mut parts = text.split('@');
    let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else { return false };
    let labels_ok =
        domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    !local.is_empty()
        && labels_ok
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';' | '(' | ')'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::MAX_FIELD_CHARS;

    fn preferences(value: Value) -> Vec<String> {
        let Value::Object(document) = value else { panic!("not an object") };
        let mut validator = Validator::new();
        validator.preferences("preferences", &document);
        validator.finish().err().unwrap_or_default().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_violation_names_the_path_of_the_value() {
        assert_eq!(preferences(json!({"a": {"b": [1, "x\0"]}})), ["preferences.a.b[1]"]);
        assert_eq!(preferences(json!({"a\0": 1})), ["preferences"]);
    }

    #[test]
    fn violations_are_limited_in_number_and_length() {
        let hostile = json!({ "k".repeat(32_000): [vec![1e99; 6560]], "other\0": 1 });
        let fields = preferences(hostile);
        assert_eq!(fields.len(), MAX_VIOLATIONS);
        for field in fields {
            assert_eq!(field.chars().count(), MAX_FIELD_CHARS);
            assert!(field.starts_with("preferences.kkk") && field.ends_with('…'), "{field}");
        }
        let wide = json!({ "é".repeat(MAX_FIELD_CHARS): "\0" });
        assert_eq!(preferences(wide), [format!("preferences.{}…", "é".repeat(MAX_FIELD_CHARS - 13))]);
        let fitting = "k".repeat(MAX_FIELD_CHARS - 12);
        assert_eq!(preferences(json!({ &fitting: "\0" })), [format!("preferences.{fitting}")]);
    }

    #[test]
    fn numbers_that_would_lose_digits_are_refused() {
        let parsed = |text: &str| preferences(serde_json::from_str(text).expect("JSON"));
        assert_eq!(parsed(r#"{"n": 18446744073709551615, "m": -9223372036854775808, "f": 0.1, "e": 1.5e9}"#), [""; 0]);
        assert_eq!(parsed(r#"{"n": 18446744073709551616}"#), ["preferences.n"]);
    }

    #[test]
    fn nesting_and_size_are_limited() {
        let nested = |depth: usize| (1..depth).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(preferences(json!({ "a": nested(MAX_PREFERENCES_DEPTH) })), [""; 0]);
        assert_eq!(preferences(json!({ "a": nested(MAX_PREFERENCES_DEPTH + 1) })).len(), 1);
        assert_eq!(preferences(json!({ "a": "x".repeat(MAX_PREFERENCES_BYTES) })), ["preferences"]);
    }

    #[test]
    fn a_password_has_a_bounded_length_and_differs_from_the_name() {
        let broken = |text: &str| {
            let mut validator = Validator::new();
            let name = LoginName::parse("Ada.Lovelace").expect("a name");
            validator.new_password("password", &Password::from(text.to_owned()), Some(&name));
            validator.finish().is_err()
        };
        assert!(!broken("12345678") && !broken(&"é".repeat(256)));
        assert!(broken(&"e\u{301}".repeat(7)) && !broken(&"e\u{301}".repeat(256)), "the composed form counts");
        assert!(broken("1234567") && broken(&"é".repeat(257)) && broken("ADA.lovelace") && broken("12345678\0"));
    }

    #[test]
    fn an_email_address_has_a_local_part_and_a_domain() {
        for good in ["a@b", "ada+x@example.com", "é@exämple.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b..c", "a@-b", "<a@b>"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
