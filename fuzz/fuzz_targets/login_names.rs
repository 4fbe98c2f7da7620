//! Login names: the canonical form is its own canonical form, and shows all of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon::model::{LoginName, MAX_LOGIN_NAME_CHARS};

fuzz_target!(|text: &str| {
    let Ok(name) = LoginName::parse(text) else { return };
    let canonical = name.as_str();
    assert_eq!(LoginName::parse(canonical).as_ref(), Ok(&name));
    assert!((1..=MAX_LOGIN_NAME_CHARS).contains(&canonical.chars().count()));
    assert!(!canonical.chars().any(|c| c.is_whitespace() || c.is_control()));
    if text.is_ascii() {
        assert_eq!(canonical, text.to_ascii_lowercase());
    }
});
