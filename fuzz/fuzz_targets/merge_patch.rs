//! JSON Merge Patch: two lines, a document and a patch of it, through the strict reader, the merge and the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use symbolon::{
    json::{self, DocumentObject},
    users::rules::{MAX_PREFERENCES_BYTES, merge_preferences},
};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |&byte| byte == b'\n');
    let mut read = || json::from_slice::<DocumentObject>(lines.next().unwrap_or_default()).map(|object| object.0);
    let (Ok(document), Ok(patch)) = (read(), read()) else { return };

    if let Ok(same) = merge_preferences(document.clone(), &Value::Object(Map::new())) {
        assert_eq!(same, document, "an empty patch changes nothing");
    }
    let Ok(merged) = merge_preferences(document.clone(), &Value::Object(patch.clone())) else { return };
    check(&document, &patch, &merged);
    let again = merge_preferences(merged.clone(), &Value::Object(patch));
    assert_eq!(again.as_ref(), Ok(&merged), "a patch that was applied changes nothing");

    let text = serde_json::to_string(&merged).expect("JSON");
    assert!(text.len() <= MAX_PREFERENCES_BYTES && !has_nul(&Value::Object(merged.clone())));
    let reread = json::from_slice::<DocumentObject>(text.as_bytes()).expect("what is written can be read");
    assert_eq!(reread.0, merged, "what is written is read the same");
});

/// RFC 7396, member by member.
fn check(document: &Map<String, Value>, patch: &Map<String, Value>, merged: &Map<String, Value>) {
    let untouched = document.iter().filter(|(name, _)| !patch.contains_key(*name));
    for (name, value) in untouched.clone() {
        assert_eq!(merged.get(name), Some(value), "what the patch does not name stays");
    }
    for (name, value) in patch {
        match (value, merged.get(name)) {
            (Value::Null, result) => assert_eq!(result, None, "null removes"),
            (Value::Object(inner), Some(Value::Object(result))) => {
                let empty = Map::new();
                check(document.get(name).and_then(Value::as_object).unwrap_or(&empty), inner, result);
            }
            (value, result) => assert_eq!(result, Some(value), "other values replace"),
        }
    }
    let added = patch.values().filter(|value| !value.is_null()).count();
    assert_eq!(merged.len(), untouched.count() + added, "nothing else appears");
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}
