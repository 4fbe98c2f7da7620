//! Snapshots of every type of problem, from real responses, in `tests/snapshots`.
//!
//! `INSTA_UPDATE=always cargo nextest run -E 'test(problems)'` writes them anew.

mod gateway;
mod instance;
mod stores;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Connection, Reply};

/// The headers of a snapshot.
const HEADERS: [&str; 5] = ["allow", "cache-control", "content-type", "retry-after", "www-authenticate"];

/// Compares a problem with its snapshot.
fn assert_snapshot(slug: &str, reply: &Reply) {
    reply.problem(reply.status.as_u16(), slug);
    compare(slug, reply.status.as_u16(), |name| reply.header(name).to_owned(), reply.json());
}

/// Reads a problem from a connection and compares it with its snapshot.
async fn assert_snapshot_on(connection: &mut Connection, slug: &str) {
    let (status, body) = connection.response().await;
    let header = |name: &str| connection.header(name).unwrap_or_default().to_owned();
    compare(slug, status, header, serde_json::from_str(&body).expect("JSON"));
}

fn compare(slug: &str, status: u16, header: impl Fn(&str) -> String, body: Value) {
    let value = |name| match header(name).as_str() {
        // How long to wait depends on the moment.
        seconds if name == "retry-after" && !seconds.is_empty() => "(seconds)".to_owned(),
        value => value.to_owned(),
    };
    let headers = HEADERS.into_iter().map(|name| (name, value(name))).filter(|(_, value)| !value.is_empty());
    let headers: serde_json::Map<_, _> = headers.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let problem = json!({"status": status, "headers": headers, "body": body});
        insta::assert_json_snapshot!(format!("problem-{slug}"), problem);
    });
}

/// Types of problems that the OpenAPI document does not list: of unknown methods, of HTTP itself, and of the gateway.
const UNLISTED: [&str; 6] =
    ["bad-gateway", "gateway-timeout", "method-not-allowed", "no-node", "too-many-headers", "unknown-transfer-coding"];

#[test]
fn every_documented_problem_type_has_a_snapshot() {
    let document = include_str!("../../openapi/openapi.json");
    let documented = document.split("urn:symbolon:problem:").skip(1);
    let documented = documented.map(|rest| rest.split('"').next().expect("a type").to_owned());
    let expected: BTreeSet<String> = documented.chain(UNLISTED.map(str::to_owned)).collect();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let files = std::fs::read_dir(directory).expect("snapshots").map(|entry| entry.expect("an entry").file_name());
    let slug =
        |name: std::ffi::OsString| Some(name.to_str()?.strip_prefix("problem-")?.strip_suffix(".snap")?.to_owned());
    assert_eq!(files.filter_map(slug).collect::<BTreeSet<_>>(), expected);
}
