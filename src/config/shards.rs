//! The setting `shards`: text, or a file for many shards or for weights.

use serde::Deserialize;
use symbolon_partitioner::MAX_WEIGHT;

use super::{
    layers::line_of,
    store_url::{PgUrl, is_of_name},
    value::{SettingValue, items},
};

/// The shards' ids and endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardUrls(pub Vec<ShardUrl>);

/// One shard's id and endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardUrl {
    pub id: String,
    /// Its share of the users relative to the other shards; only for strategies with a ring.
    pub weight: u32,
    pub primary: PgUrl,
    /// Validated, but not read from yet.
    pub replicas: Vec<PgUrl>,
}

/// A file of shards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    shard: Vec<Entry>,
}

/// One `[[shard]]` of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    primary: String,
    #[serde(default)]
    replicas: Vec<String>,
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

impl SettingValue for ShardUrls {
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let entries = if text.is_empty() || text.contains(['=', '$']) {
            items(text).enumerate().map(|(number, item)| entry(number, item)).collect::<Result<_, _>>()?
        } else {
            read(text)?
        };
        let mut shards: Vec<ShardUrl> = Vec::new();
        for (number, entry) in entries.into_iter().enumerate() {
            let place = place(number);
            // Where the id was forgotten, what is before the first = is a part of the URL, and may hold a password.
            if entry.id.is_empty() || !entry.id.chars().all(is_of_name) {
                return Err(format!("{place} must have an id of letters, digits, dots, dashes and underscores"));
            }
            if shards.iter().any(|other| other.id == entry.id) {
                return Err(format!("{place} must have an id of its own"));
            }
            if !(1..=MAX_WEIGHT).contains(&entry.weight) {
                return Err(format!("{place} ({}) must have a weight from 1 to {MAX_WEIGHT}", entry.id));
            }
            let url =
                |text: &String| PgUrl::from_text(text).map_err(|detail| format!("{place} ({}) {detail}", entry.id));
            let (primary, replicas) = (url(&entry.primary)?, entry.replicas.iter().map(url).collect::<Result<_, _>>()?);
            shards.push(ShardUrl { id: entry.id, weight: entry.weight, primary, replicas });
        }
        Ok(Self(shards))
    }
}

fn place(number: usize) -> String {
    format!("shard {}", number + 1)
}

/// A shard as text: `id=primary|replica|…`.
fn entry(number: usize, item: &str) -> Result<Entry, String> {
    let shape = || format!("{} must be id=postgres://…", place(number));
    let (id, urls) = item.split_once('=').ok_or_else(shape)?;
    let mut urls = urls.split('|').map(str::to_owned);
    let primary = urls.next().ok_or_else(shape)?;
    Ok(Entry { id: id.to_owned(), primary, replicas: urls.collect(), weight: one() })
}

fn read(path: &str) -> Result<Vec<Entry>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("must be id=postgres://…, or a file of shards, and {path:?} can't be read: {error}")
    })?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let line = line_of(&error, &text);
        // What toml says may show the value, and that a password.
        format!("{path}, line {line}, is not as a file of shards is: [[shard]] with id, primary, replicas and weight")
    })?;
    if file.shard.is_empty() { Err(format!("{path} names no shard")) } else { Ok(file.shard) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(text: &str) -> Result<ShardUrls, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("a file");
        ShardUrls::from_text(file.path().to_str().expect("a path"))
    }

    #[test]
    fn shards_have_an_id_a_primary_and_replicas() {
        let shards =
            ShardUrls::from_text("a=postgres://u:secret@x/d, b=postgres://y/d|postgres://z/d").expect("shards");
        let shape: Vec<_> = shards.0.iter().map(|shard| (shard.id.as_str(), shard.replicas.len())).collect();
        assert_eq!(shape, [("a", 0), ("b", 1)]);
        assert!(!format!("{shards:?}").contains("secret"));
        for wrong in ["a=mysql://x", "a=postgres://x/d,a=postgres://y/d", "=postgres://x/d"] {
            let refused = ShardUrls::from_text(wrong).expect_err("a refusal");
            assert!(refused.contains("shard "), "{refused}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_shown() {
        for wrong in [
            "postgres://u:secret@x/d?sslmode=require",
            "a=postgres:/u:secret@x/d",
            "a=${SYMBOLON_NO_SUCH_VARIABLE}",
            "${SYMBOLON_NO_SUCH_VARIABLE}",
        ] {
            let refused = ShardUrls::from_text(wrong).expect_err("a refusal");
            assert!(refused.contains("shard 1") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn a_file_keeps_their_order_and_tells_their_weights() {
        let shards = of_file(
            r#"
            [[shard]]
            id = "z"
            primary = "postgres://x/d"
            weight = 3
            [[shard]]
            id = "a"
            primary = "postgres://y/d"
            replicas = ["postgres://y2/d"]
            "#,
        );
        let shape: Vec<_> = shards.expect("shards").0.into_iter().map(|shard| (shard.id, shard.weight)).collect();
        assert_eq!(shape, [("z".to_owned(), 3), ("a".to_owned(), 1)]);
    }

    #[test]
    fn a_file_that_is_not_as_it_should_be_is_refused_without_showing_what_is_in_it() {
        let shard = |more: &str| format!("[[shard]]\nid = \"a\"\nprimary = \"postgres://u:secret@x/d\"\n{more}");
        for (text, says) in [
            (shard("wieght = 3"), "line 4"),
            (shard("weight = \"secret\""), "line 4"),
            (shard("weight = 0"), "weight"),
            (shard(&shard("")), "id of its own"),
            (shard("replicas = [\"mysql://u:secret@y/d\"]"), "shard 1 (a)"),
            ("shard = []".to_owned(), "names no shard"),
        ] {
            let refused = of_file(&text).expect_err("a refusal");
            assert!(refused.contains(says) && !refused.contains("secret"), "{refused}");
        }
        assert!(ShardUrls::from_text("no-such-file.toml").expect_err("a refusal").contains("no-such-file.toml"));
    }
}
