//! Strict JSON parsing of what clients send.
//!
//! serde_json alone keeps the last of two members with the same name, accepts an array in place of a struct's object, and
//! repeats values in its error messages. Here duplicate members and such arrays are rejected, and error messages contain no
//! value, because it may be a secret.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Number, Value};

/// Text that is not JSON, or does not have the expected structure.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Path of the member, separated by dots; empty for the whole document.
    pub field: String,
    /// What is wrong with the member, as the end of a sentence.
    pub detail: String,
}

/// Parses a JSON object.
///
/// # Errors
/// Returns a [`JsonError`] that names the member and what is wrong with it.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        explain(if path == "." { "" } else { &path }, error.inner())
    })?;
    deserializer.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

fn explain(path: &str, error: &serde_json::Error) -> JsonError {
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&suffix).unwrap_or(&message);
    if !error.is_data() {
        let at = format!("line {}, column {}", error.line(), error.column());
        return JsonError { field: String::new(), detail: format!("is not JSON: {message} at {at}") };
    }
    for kind in ["missing field `", "unknown field `", "duplicate field `"] {
        if let Some((member, _)) = message.strip_prefix(kind).and_then(|rest| rest.split_once('`')) {
            let last = path.rsplit('.').next().unwrap_or_default();
            let field = match path {
                "" => member.to_owned(),
                _ if last == member && !kind.starts_with("missing") => path.to_owned(),
                _ => format!("{path}.{member}"),
            };
            let detail = match kind {
                "missing field `" => "is missing",
                "unknown field `" => "is not a member of this request",
                _ => "appears more than once",
            };
            return JsonError { field, detail: detail.to_owned() };
        }
    }
    // The part before "expected" repeats the value, which may be a secret.
    let detail = match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("must be {expected}"),
        None => "has an unsupported value".to_owned(),
    };
    JsonError { field: path.to_owned(), detail }
}

/// A `T` parsed from an object only; derived `Deserialize` would also accept an array of its members.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

/// Deserializes a struct from an object only. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// Returns the deserializer's error.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Members(PhantomData))
}

/// Deserializes a whole number, with or without a zero fraction (`7` or `7.0`). For `#[serde(deserialize_with)]`. JSON and
/// JSON Schema treat both alike; serde does not.
///
/// # Errors
/// Returns the deserializer's error.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 0 to {}", u32::MAX)
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u32, E> {
            u32::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u32, E> {
            let is_whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
            is_whole.then_some(value as u32).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    deserializer.deserialize_any(Whole)
}

/// Deserializes a member that may be `null` (`Some(None)`), as distinct from absent. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// Returns the deserializer's error.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Any JSON value, without duplicate members.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(pub Value);

/// A JSON object, without duplicate members.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DocumentObject(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for DocumentObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(DocumentVisitor)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(D::Error::custom("invalid type, expected an object")),
        }
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Document(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Document(value) = map.next_value()?;
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(deserialize_with = "object")]
        inner: Inner,
        #[serde(default)]
        rest: DocumentObject,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u32,
    }

    fn rejection(text: &str) -> (String, String) {
        let error = from_slice::<Outer>(text.as_bytes()).expect_err("a rejection");
        (error.field, error.detail)
    }

    #[test]
    fn an_error_names_the_path_of_the_member() {
        let cases = [
            (r#"{"name": "a"}"#, "inner", "is missing"),
            (r#"{"name": "a", "inner": {}}"#, "inner.count", "is missing"),
            (r#"{"name": "a", "inner": {"count": 1}, "x": 1}"#, "x", "is not a member of this request"),
            (r#"{"name": "a", "inner": {"count": 1, "x": 1}}"#, "inner.x", "is not a member of this request"),
            (r#"{"name": "a", "name": "b", "inner": {"count": 1}}"#, "name", "appears more than once"),
            (
                r#"{"name": "a", "inner": {"count": 1}, "rest": {"a": {"b": 1, "b": 2}}}"#,
                "rest.a.b",
                "appears more than once",
            ),
            (r#"{"name": 5, "inner": {"count": 1}}"#, "name", "must be a string"),
            (r#"{"name": "a", "inner": [1]}"#, "inner", "must be an object"),
            (r#"{"name": "a", "inner": {"count": 1}, "rest": [1]}"#, "rest", "must be an object"),
            (r#"["a", {"count": 1}]"#, "", "must be an object"),
        ];
        for (text, field, detail) in cases {
            assert_eq!(rejection(text), (field.to_owned(), detail.to_owned()), "{text}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_rejected() {
        for text in ["", "{", r#"{"name": "a", "inner": {"count": 1}} x"#, "{\"name\": \"\\ud800\"}", "nul"] {
            assert!(rejection(text).1.starts_with("is not JSON"), "{text}: {:?}", rejection(text));
        }
        let deep = format!(r#"{{"name": "a", "inner": {{"count": 1}}, "rest": {}}}"#, "[".repeat(200));
        assert!(rejection(&deep).1.contains("recursion limit"));
        assert!(from_slice::<DocumentObject>(b"{\"a\": \"\xff\"}").is_err());
        assert!(from_slice::<DocumentObject>(br#"{"a": 1e999}"#).is_err());
    }

    #[test]
    fn a_whole_number_may_have_a_zero_fraction() {
        #[derive(Debug, Deserialize)]
        struct Counted {
            #[serde(deserialize_with = "whole")]
            count: u32,
        }
        let read = |text: &str| from_slice::<Counted>(format!(r#"{{"count": {text}}}"#).as_bytes());
        for (text, count) in [("7", 7), ("7.0", 7), ("0.0", 0), ("4294967295", u32::MAX), ("4.294967295e9", u32::MAX)] {
            assert_eq!(read(text).expect("a number").count, count);
        }
        for text in ["-1", "-1.0", "7.5", "4294967296", "1e10", "null", "\"7\"", "true"] {
            let error = read(text).expect_err("a rejection");
            assert_eq!(error.detail, "must be a whole number from 0 to 4294967295", "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_survives_a_round_trip(number: f64) {
            let text = serde_json::json!({"n": number}).to_string();
            let read: DocumentObject = from_slice(text.as_bytes()).expect("JSON");
            prop_assert_eq!(serde_json::to_string(&read.0).expect("JSON"), text);
        }
    }

    #[test]
    fn error_messages_do_not_repeat_values() {
        let (_, detail) = rejection(r#"{"name": "a", "inner": "hunter2"}"#);
        assert!(!detail.contains("hunter2"), "{detail}");
        for secret in ["hunter2", "hunter2 at line here", "a, expected hunter2"] {
            let (_, detail) = rejection(&format!(r#"{{"name": "a", "inner": {{"count": "{secret}"}}}}"#));
            assert_eq!(detail, "must be u32");
        }
        let (_, detail) = rejection(r#"{"name": "a", "inner": {"count": "hunter2"}}"#);
        assert!(!detail.contains("hunter2"), "{detail}");
    }
}
