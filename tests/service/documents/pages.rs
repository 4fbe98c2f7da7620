//! Pages of `docs/` that must agree with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use symbolon::config::SETTINGS;

use crate::support::{OPERATOR_TOKEN, Service};

/// The checkout.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` whose names end in `extension`.
pub(super) fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| {
        let is_wanted = path.extension().is_some_and(|found| found == extension);
        if path.is_dir() { files(&path, extension) } else { Vec::from_iter(is_wanted.then_some(path)) }
    };
    paths.flat_map(below).collect()
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_configuration_page_has_every_setting_as_the_code_has_it() {
    const BEGIN: &str = "<!-- begin: written by `make configuration` from `settings!` in src/config.rs -->\n";
    const END: &str = "<!-- end -->\n";
    let path = root().join("docs/configuration.md");
    let page = read(&path);
    let (before, rest) = page.split_once(BEGIN).expect("where the settings begin");
    let (_, after) = rest.split_once(END).expect("where the settings end");
    let current = format!("{before}{BEGIN}{}{END}{after}", settings_table());
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&path, &current).expect("the page is written");
    }
    let written = read(&path);
    assert!(written == current, "docs/configuration.md differs from the settings: run `make configuration`");
}

fn settings_table() -> String {
    let row = |setting: &symbolon::config::SettingInfo| {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let former = setting.former_name.map_or_else(String::new, |name| format!(" Until 0.1.x ends also `{name}`."));
        format!("| `{}` | {default} | {}{former} |\n", setting.name, setting.help.trim().replace('|', "\\|"))
    };
    let rows: String = SETTINGS.iter().map(row).collect();
    format!("\n| setting | default | what it does |\n|---|---|---|\n{rows}\n")
}

/// The types on the metrics page, by the metrics' names.
fn documented_metrics() -> BTreeMap<String, String> {
    let page = read(&root().join("docs/metrics.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `symbolon_"));
    let metrics = rows.map(|row| {
        let (name, rest) = row.split_once("` | ").expect("a name");
        let kind = rest.split(" | ").next().expect("a type");
        (format!("symbolon_{name}"), kind.to_owned())
    });
    metrics.collect()
}

/// The names that the code gives to metrics, without the `_total` of counters.
fn metrics_in_the_code() -> BTreeSet<String> {
    let sources = files(&root().join("src"), "rs");
    sources.iter().flat_map(|path| metrics_of(path)).collect()
}

fn metrics_of(path: &Path) -> Vec<String> {
    let source = read(path);
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let instance = !path.components().any(|part| part.as_os_str() == "gateway");
    // Both show the connections with their clients.
    let gateway = !instance || path.ends_with("connections.rs");
    let prefixes = [(instance, "symbolon"), (gateway, "symbolon_gateway")];
    let prefixes: Vec<&str> = prefixes.into_iter().filter_map(|(shows, prefix)| shows.then_some(prefix)).collect();
    let calls = ["Sample::gauge(", "Sample::counter(", "registry.register("];
    let after = calls.into_iter().flat_map(|call| source.split(call).skip(1));
    let names = after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    names.flat_map(|name| prefixes.iter().map(move |prefix| format!("{prefix}_{name}"))).collect()
}

#[test]
fn the_metrics_page_names_exactly_the_metrics_of_the_code() {
    let without_total = |name: &String| name.strip_suffix("_total").unwrap_or(name).to_owned();
    let documented: BTreeSet<String> = documented_metrics().keys().map(without_total).collect();
    let existing = metrics_in_the_code();
    let missing: Vec<_> = existing.difference(&documented).collect();
    let obsolete: Vec<_> = documented.difference(&existing).collect();
    assert!(missing.is_empty() && obsolete.is_empty(), "docs/metrics.md lacks {missing:?}, and has {obsolete:?}");
    assert!(existing.len() > 70, "{}", existing.len());
}

#[tokio::test]
async fn the_metrics_page_has_the_types_that_prometheus_is_told() {
    let settings = [("SYMBOLON_OPERATOR_TOKEN", OPERATOR_TOKEN)];
    let instance = Service::with(&settings).await;
    let gateway = instance.fleet_gateway(&settings).await;
    let documented = documented_metrics();
    for service in [&instance, &gateway] {
        let text = service.request(Method::GET, "/metrics").bearer(OPERATOR_TOKEN).send().await.text;
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(types.len() > 10, "{text}");
        for line in types {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            assert_eq!(documented.get(&name).map(String::as_str), Some(kind), "{name} in docs/metrics.md");
        }
    }
}
