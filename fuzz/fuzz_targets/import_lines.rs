//! Lines of an import: what is taken is exported as a line that says the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon::{model::User, users::transfer::{ImportCandidate, ExportRecord}};

fuzz_target!(|data: &[u8]| {
    let candidate = match ImportCandidate::parse(1, data) {
        Ok(candidate) => candidate,
        Err(rejection) => {
            assert!(!rejection.violations.is_empty());
            return assert!(!rejection.to_string().contains(char::is_control), "a message moves the cursor");
        }
    };
    let line = serde_json::to_string(&ExportRecord::of(&candidate.user)).expect("JSON");
    assert!(!line.contains('\n'));
    let again = ImportCandidate::parse(2, line.as_bytes()).unwrap_or_else(|rejection| panic!("{rejection}: {line}"));
    assert!(again.has_own_id);
    // When a row was written is no part of its line.
    assert_eq!(User { updated_at: candidate.user.updated_at, ..again.user }, candidate.user);
});
