use std::io::Write;

use super::*;

fn read(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Settings, String> {
    let mut toml = tempfile::NamedTempFile::new().expect("a temporary file");
    toml.write_all(file.unwrap_or_default().as_bytes()).expect("the file is written");
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Layers::collect(
        Some(toml.path().to_owned()),
        environment.iter().map(own),
        flags.iter().map(|(name, value)| (*name, (*value).to_owned())),
    )
    .and_then(|layers| Settings::read(&layers))
    .map_err(|error| error.to_string())
}

fn refusal(environment: &[(&str, &str)]) -> String {
    read(None, environment, &[]).expect_err("a refusal")
}

#[test]
fn every_default_is_a_valid_value() {
    assert_eq!(read(None, &[], &[]).expect("the defaults").listen, SocketAddr::from(([127, 0, 0, 1], 8080)));
}

#[test]
fn flags_outrank_the_environment_which_outranks_the_file() {
    let file = "region = \"file\"\nzone = \"file\"\nweight = 2";
    let environment = [("SYMBOLON_ZONE", "environment"), ("SYMBOLON_WEIGHT", "3")];
    let settings = read(Some(file), &environment, &[("weight", "4")]).expect("settings");
    assert_eq!((settings.region.as_str(), settings.zone.as_str(), settings.weight), ("file", "environment", 4));
}

#[test]
fn a_wrong_value_is_named_with_its_source() {
    assert!(
        refusal(&[("SYMBOLON_LISTEN", "nowhere")]).starts_with("listen (from SYMBOLON_LISTEN): \"nowhere\": must be")
    );
    assert!(
        read(None, &[], &[("session_idle_timeout", "soon")]).expect_err("a refusal").contains("--session-idle-timeout")
    );
    let error = read(Some("weight = \"much\""), &[], &[]).expect_err("a refusal");
    assert!(error.starts_with("weight (from /"), "{error}");
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let error = refusal(&[("SYMBOLON_LISTEN", "x"), ("SYMBOLON_WEIGHT", "-1"), ("SYMBOLON_THROTTLE", "maybe")]);
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for (environment, setting) in [
        (&[("SYMBOLON_SESSION_LIFETIME", "1m")][..], "session_lifetime"),
        (&[("SYMBOLON_ARGON2_MEMORY_KIB", "1")][..], "argon2_memory_kib"),
        (&[("SYMBOLON_STRATEGY", "hash"), ("SYMBOLON_PINS", "a=db-node-0")][..], "pins"),
        (&[("SYMBOLON_STRATEGY", "range")][..], "split_points"),
        (&[("SYMBOLON_OPERATOR_LISTEN", "127.0.0.1:8080")][..], "operator_listen"),
        (&[("SYMBOLON_REDIS_CA_FILE", "ca.pem"), ("SYMBOLON_REDIS_URL", "redis://x")][..], "redis_ca_file"),
        (&[("SYMBOLON_REDIS_WAIT_REPLICAS", "1")][..], "redis_wait_replicas"),
        (&[("SYMBOLON_TUNER_INTERVAL", "2h")][..], "tuner_interval"),
        (&[("SYMBOLON_TUNER_INTERVAL", "4s")][..], "tuner_interval"),
        (&[("SYMBOLON_TUNER_RULES", "a: cpu_percent > 5 -> turbo")][..], "tuner_rules"),
        (&[("SYMBOLON_TUNER_RULES", "cpu_optimization: cpu_percent > 5 -> cache_size")][..], "tuner_rules"),
        (
            &[
                ("SYMBOLON_TUNER_RULES", "a: cpu_percent > 5 -> cache_size"),
                ("SYMBOLON_SHARDS", "db-node-0=postgres://x/y"),
            ][..],
            "tuner_rules",
        ),
        (&[("SYMBOLON_CONCURRENCY_MIN", "0")][..], "concurrency_min"),
        (&[("SYMBOLON_WEIGHT", "0")][..], "weight"),
        (&[("SYMBOLON_WEIGHT", "400000")][..], "weight"),
        (&[("SYMBOLON_MAX_OPEN_CONNECTIONS", "0")][..], "max_open_connections"),
        (&[("SYMBOLON_CONCURRENCY_MAX", "15")][..], "concurrency_max"),
        (&[("SYMBOLON_LOG", "a=b=c")][..], "log"),
        (&[("SYMBOLON_CORS_ORIGINS", "example.com")][..], "cors_origins"),
        (&[("SYMBOLON_CORS_ORIGINS", "https://a.example/path")][..], "cors_origins"),
        (&[("SYMBOLON_CORS_ORIGINS", "*,https://a.example")][..], "cors_origins"),
        (&[("SYMBOLON_SESSION_LIFETIME", "1000y")][..], "session_lifetime"),
    ] {
        let error = refusal(environment);
        assert!(error.contains(setting), "{error}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let error = refusal(&[("SYMBOLON_OPERATOR_TOKEN", "short-secret")]);
    assert!(error.contains("operator_token") && !error.contains("short-secret"), "{error}");
    let settings = read(None, &[("SYMBOLON_OPERATOR_TOKEN", "a-long-enough-secret")], &[]).expect("settings");
    assert!(!format!("{settings:?}").contains("secret"));
}

#[test]
fn several_operator_tokens_are_valid_at_once() {
    let environment = [("SYMBOLON_OPERATOR_TOKEN", "the-first-of-two-tokens, the-second-of-two-tokens")];
    let tokens = read(None, &environment, &[]).expect("settings").operator_token;
    assert!(tokens.accept("the-first-of-two-tokens") && tokens.accept("the-second-of-two-tokens"));
    assert!(!tokens.accept("the-third-of-two-tokens") && !tokens.accept(""));
}

#[test]
fn unknown_variables_are_ignored_with_a_warning_and_unknown_file_settings_refused() {
    let environment = [("SYMBOLON_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned())];
    let layers = Layers::collect(None, environment, []).expect("layers");
    assert_eq!(layers.warnings().len(), 1);
    assert!(read(Some("lissten = \"x\""), &[], &[]).expect_err("a refusal").contains("lissten"));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    assert!(read(Some("weight = 1\nzone ="), &[], &[]).expect_err("a refusal").contains("line 2"));
}

#[test]
fn a_former_name_is_read_from_every_layer_with_a_warning() {
    let collect = |environment: &[(&str, &str)], flags: &[(&'static str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Layers::collect(Some("/dev/null".into()), environment.iter().map(own), flags).expect("layers")
    };
    let iterations = |layers: &Layers| Settings::read(layers).expect("settings").argon2_iterations;
    let by_variable = collect(&[("SYMBOLON_HASH_PASSES", "3")], &[]);
    assert_eq!(iterations(&by_variable), 3);
    assert_eq!(by_variable.warnings(), ["SYMBOLON_HASH_PASSES is a former name; use argon2_iterations"]);
    let by_flag = collect(&[("SYMBOLON_HASH_PASSES", "3")], &[("hash_passes", "4")]);
    assert_eq!(iterations(&by_flag), 4);
    assert_eq!(by_flag.warnings(), ["--hash-passes is a former name; use argon2_iterations"]);
    let both = collect(&[("SYMBOLON_ARGON2_ITERATIONS", "5")], &[("hash_passes", "4")]);
    assert_eq!(iterations(&both), 5);
    assert_eq!(both.warnings(), ["--hash-passes is ignored: argon2_iterations is set, which is its new name"]);
    assert_eq!(self::read(Some("hash_passes = 6"), &[], &[]).expect("settings").argon2_iterations, 6);
    assert!(self::read(Some("hash_passes = \"x\""), &[], &[]).expect_err("a refusal").contains("hash_passes in /"));
}
