//! Preferences documents, kept as JSON text because most requests only pass them on.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

/// The text of a JSON object that the client defines.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Preferences(Box<RawValue>);

impl Preferences {
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Parses the document.
    ///
    /// # Errors
    /// The stored document is corrupt: an accepted document always parses.
    pub fn to_map(&self) -> Result<Map<String, Value>, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl Default for Preferences {
    fn default() -> Self {
        (&Map::new()).into()
    }
}

impl From<&Map<String, Value>> for Preferences {
    #[expect(clippy::expect_used, reason = "the keys are strings, and the values are JSON")]
    fn from(document: &Map<String, Value>) -> Self {
        Self(to_raw_value(document).expect("JSON"))
    }
}

impl PartialEq for Preferences {
    fn eq(&self, other: &Self) -> bool {
        let equal_documents = || self.to_map().ok().zip(other.to_map().ok()).is_some_and(|(one, other)| one == other);
        self.as_str() == other.as_str() || equal_documents()
    }
}

impl<'de> Deserialize<'de> for Preferences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if text.get().starts_with('{') {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("preferences must be a JSON object"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Preferences, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_document_keeps_its_text() {
        let text = r#"{"b": [1, {"a": "\u00e9"}], "a": 18446744073709551615}"#;
        let kept = read(text).expect("an object");
        assert_eq!(serde_json::to_string(&kept).expect("JSON"), text);
        let document = json!({"a": u64::MAX, "b": [1, {"a": "é"}]});
        assert_eq!(Some(&kept.to_map().expect("a document")), document.as_object());
    }

    #[test]
    fn documents_with_equal_content_are_equal() {
        assert_eq!(read(r#"{"b": 1, "a": [2]}"#).expect("an object"), read(r#"{"a":[2],"b":1}"#).expect("an object"));
        assert_ne!(read(r#"{"a": 1}"#).expect("an object"), Preferences::default());
    }

    #[test]
    fn only_objects_are_accepted() {
        for text in ["[]", "null", "{", "\"{}\"", "{\"a\":}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
