//! `symbolon users import` and `export`.

use std::{cell::Cell, collections::BTreeSet, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::{Fleet, Service, on_every_shard, registration, run, symbolon, temporary_directory, until};

/// argon2i of "password" and bcrypt of "U*U", from the test vectors of other implementations.
const ARGON2: &str = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
const BCRYPT: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

fn line(login_name: &str) -> Value {
    json!({"login_name": login_name, "profile": {"name": "N", "email": "n@example.com"}})
}

fn lines(users: impl IntoIterator<Item = Value>) -> String {
    users.into_iter().map(|user| format!("{user}\n")).collect()
}

/// Runs `users …` on the data of `directory`.
async fn users(directory: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let data = directory.join("data").display().to_string();
    let arguments: Vec<&str> = ["users"].iter().chain(arguments).copied().collect();
    run(&arguments, &[("SYMBOLON_DATA_DIR", &data)], input.as_bytes()).await
}

#[tokio::test]
async fn imported_users_keep_their_passwords() {
    let service = Service::start().await;
    let directory = service.data().parent().expect("a directory").to_owned();
    let mut ada = line("Ada");
    ada["password_hash"] = json!(ARGON2);
    ada["preferences"] = json!({"theme": "dark", "list": []});
    ada["permissions"] = json!(["read"]);
    let mut eve = line("eve");
    eve["password_hash"] = json!(BCRYPT);
    let (code, out, err) = users(&directory, &["import", "-"], &lines([ada, eve, line("zoe")])).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let login = service.try_login("ada", "password").await;
    assert_eq!(login.status, 200, "{}", login.text);
    assert_eq!(login.json()["user"]["preferences"], json!({"theme": "dark", "list": []}));
    assert_eq!(login.json()["user"]["permissions"], json!(["read"]));
    assert_eq!(service.try_login("eve", "U*U").await.status, 200);
    assert_eq!(service.try_login("eve", "U*V").await.status, 401);
    for guess in ["", "password", "U*U"] {
        assert_eq!(service.try_login("zoe", guess).await.status, 401, "a user without a password logs in");
    }
    let (_, exported, _) = users(&directory, &["export"], "").await;
    assert!(!exported.contains(ARGON2) && !exported.contains(BCRYPT), "the imported hash was not replaced at login");
}

#[tokio::test]
async fn invalid_lines_are_reported_by_number_and_the_others_imported() {
    let directory = temporary_directory();
    let mut no_email = line("eve");
    no_email["profile"]["email"] = json!("nowhere");
    let long = line(&"x".repeat(2 * 1024 * 1024));
    let input =
        format!("{}not JSON\n\n{}{}{}", lines([line("ada")]), lines([no_email]), lines([long]), lines([line("zoe")]));
    let (code, out, err) = users(directory.path(), &["import", "-", "--json"], &input).await;
    assert_eq!(code, 3, "{err}");
    let reported: Vec<&str> = err.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(reported, ["line 2", "line 4", "line 5"], "{err}");
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&summary["lines"], &summary["imported"], &summary["rejected"]), (&json!(6), &json!(2), &json!(3)));
}

#[tokio::test]
async fn confusable_login_names_are_imported_and_kept() {
    let service = Service::start().await;
    let directory = service.data().parent().expect("a directory").to_owned();
    let name = "\u{430}da\u{2800}";
    let mut user = line(name);
    user["password_hash"] = json!(ARGON2);
    let (code, out, err) = users(&directory, &["import", "-"], &lines([user])).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let login = service.try_login(name, "password").await;
    assert_eq!(login.status, 200, "{}", login.text);
    let token = login.string("token");
    let change = json!({"login_name": name, "profile": {"name": "Ada"}});
    let kept = service.patch("/v1/users/me", change).bearer(&token).send().await;
    assert_eq!((kept.status.as_u16(), &kept.json()["profile"]["name"]), (200, &json!("Ada")), "{}", kept.text);
}

#[tokio::test]
async fn a_line_with_thousands_of_violations_is_reported_in_one_line() {
    let directory = temporary_directory();
    let mut hostile = line("eve").to_string();
    let preferences = format!(r#","preferences":{{"{}":[{}]}}}}"#, "k".repeat(500_000), vec!["1e99"; 90_000].join(","));
    hostile.replace_range(hostile.len() - 1.., &preferences);
    let input = format!("{}{hostile}\n{}", lines([line("ada")]), lines([line("zoe")]));
    let (code, out, err) = users(directory.path(), &["import", "-", "--json"], &input).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.starts_with("line 2: preferences.kkk") && err.len() < 64 * 1024, "{} bytes", err.len());
    assert_eq!(err.lines().count(), 1);
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&summary["imported"], &summary["rejected"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_repeated_import_changes_nothing() {
    let directory = temporary_directory();
    let input = lines((0..3000).map(|number| line(&format!("user-{number}"))));
    users(directory.path(), &["import", "-"], &input).await;
    let (_, before, _) = users(directory.path(), &["export"], "").await;
    let (code, out, _) = users(directory.path(), &["import", "-", "--json"], &input).await;
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &summary["imported"], &summary["already_there"]), (0, &json!(0), &json!(3000)));
    let (_, after, _) = users(directory.path(), &["export"], "").await;
    assert_eq!(before.lines().count(), 3000);
    assert_eq!(before, after);
}

#[tokio::test]
async fn users_move_unchanged_from_embedded_storage_to_a_fleet() {
    let laptop = temporary_directory();
    let mut ada = line("ada");
    ada["suspended"] = json!(true);
    ada["password_hash"] = json!(BCRYPT);
    ada["preferences"] = json!({"text": "tab\t, line\nand \\N"});
    let input = lines((0..100).map(|number| line(&format!("user-{number}"))).chain([ada]));
    users(laptop.path(), &["import", "-"], &input).await;
    let (_, exported, _) = users(laptop.path(), &["export"], "").await;
    let fleet = Fleet::start();
    let settings = [("SYMBOLON_SHARDS", fleet.shards.as_str())];
    let (code, _, err) = run(&["users", "import", "-"], &settings, exported.as_bytes()).await;
    assert_eq!(code, 0, "{err}");
    let (_, carried, _) = run(&["users", "export"], &settings, b"").await;
    // The order of the lines depends on the placement of the users.
    assert_eq!(carried.lines().collect::<BTreeSet<_>>(), exported.lines().collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn a_repeated_import_completes_a_killed_one() {
    const USERS: usize = 20_000;
    let fleet = Fleet::start();
    let directory = temporary_directory();
    let file = directory.path().join("users.ndjson");
    let input = lines((0..USERS).map(|number| line(&format!("user-{number}"))));
    std::fs::write(&file, &input).expect("a file");
    let file = file.display().to_string();
    let start = || -> Child {
        let mut command = symbolon(directory.path());
        command.args(["users", "import", &file]).env("SYMBOLON_SHARDS", &fleet.shards);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    };
    for min in [1, USERS / 3] {
        let mut import = start();
        until("some users are imported", async || fleet.count("users") >= min).await;
        import.kill().await.expect("the process is killed");
    }
    assert!(fleet.count("users") < USERS, "the import was complete before it was killed");
    let (code, _, err) = run(&["users", "import", &file], &[("SYMBOLON_SHARDS", &fleet.shards)], b"").await;
    assert_eq!(code, 0, "{err}");
    assert_eq!((fleet.count("users"), fleet.count("login_names")), (USERS, USERS));
    let (names, claims): (BTreeSet<_>, BTreeSet<_>) =
        (fleet.pairs("users").into_iter().collect(), fleet.pairs("login_names").into_iter().collect());
    assert_eq!(names, claims, "a name is claimed for another user");
}

#[tokio::test]
async fn an_interrupted_export_is_resumed() {
    let directory = temporary_directory();
    let input = lines((0..5000).map(|number| line(&format!("user-{number}"))));
    users(directory.path(), &["import", "-"], &input).await;
    let file = directory.path().join("export.ndjson");
    let path = file.display().to_string();
    let (code, _, err) = users(directory.path(), &["export", &path], "").await;
    assert_eq!(code, 0, "{err}");
    let whole = std::fs::read(&file).expect("a file");
    for kept in [whole.len() * 2 / 3, 10, 0] {
        std::fs::write(&file, &whole[..kept]).expect("a file");
        let (code, _, err) = users(directory.path(), &["export", &path, "--resume"], "").await;
        assert_eq!(code, 0, "{err}");
        assert!(std::fs::read(&file).expect("a file") == whole, "from {kept} bytes");
    }
    let (code, _, err) = users(directory.path(), &["export", &path], "").await;
    assert!(code == 1 && err.contains("cannot create"), "{err}");
}

#[tokio::test]
async fn resuming_leaves_a_file_that_is_not_an_export_alone() {
    let directory = temporary_directory();
    let file = directory.path().join("something-else");
    let path = file.display().to_string();
    for content in ["precious", "a line\nand a half", "{}\n{\"login"] {
        std::fs::write(&file, content).expect("a file");
        let (code, _, err) = users(directory.path(), &["export", &path, "--resume"], "").await;
        assert!(code == 1 && err.contains("is not the file of an export"), "{err}");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), content);
    }
}

#[tokio::test]
async fn only_the_owner_may_read_an_export() {
    use std::os::unix::fs::PermissionsExt;
    let directory = temporary_directory();
    let file = directory.path().join("export.ndjson");
    users(directory.path(), &["export", &file.display().to_string()], "").await;
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_import_names_the_shard_that_is_missing() {
    let mut fleet = Fleet::start();
    fleet.postgres[1].kill();
    let (code, _, err) =
        run(&["users", "import", "-"], &[("SYMBOLON_SHARDS", &fleet.shards)], lines([line("ada")]).as_bytes()).await;
    assert!(code == 1 && err.contains("shard db-node-2"), "{err}");
}

#[tokio::test]
async fn an_import_runs_beside_a_serving_instance() {
    let fleet = Fleet::start();
    let service = fleet.instance().await;
    let input = lines((0..2000).map(|number| line(&format!("user-{number}"))));
    let settings = [("SYMBOLON_SHARDS", fleet.shards.as_str())];
    let registered = Cell::new(0);
    let registrations = async {
        for number in 0..20 {
            let name = format!("user-{}", number * 100);
            let reply = service.post("/v1/users", registration(&name)).send().await;
            if reply.status == 201 {
                registered.set(registered.get() + 1);
            } else {
                reply.assert_name_refused();
            }
        }
    };
    let import = run(&["users", "import", "-", "--json"], &settings, input.as_bytes());
    let ((code, out, err), ()) = tokio::join!(import, registrations);
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    // Only lines whose names were registered before are rejected.
    let rejected = summary["rejected"].as_u64().expect("a number");
    assert!(rejected <= registered.get(), "{summary}, {err}");
    assert_eq!(code, if rejected == 0 { 0 } else { 3 }, "{err}");
    let (names, claims): (BTreeSet<_>, BTreeSet<_>) =
        (fleet.pairs("users").into_iter().collect(), fleet.pairs("login_names").into_iter().collect());
    assert_eq!(names, claims);
    assert_eq!(names.len(), 2000);
}

/// Whether the operator endpoints accept a session.
async fn is_admin(service: &Service, token: &str) -> bool {
    let status = service.get("/v1/operator/stats").bearer(token).send().await.status.as_u16();
    assert!([200, 403].contains(&status), "{status}");
    status == 200
}

/// Registers an admin; returns its id and a token. Some changes have raised the version of the user.
async fn admin(service: &Service) -> (String, String) {
    let user_id = service.register("ada").await;
    let token = service.login("ada").await;
    for number in 0..5 {
        let patch = service.patch("/v1/users/me/preferences", json!({"number": number})).bearer(&token);
        assert_eq!(patch.send().await.status, 200);
    }
    assert_eq!(service.set_permissions(&user_id, &["read", "write", "admin"]).await.status, 200);
    assert!(is_admin(service, &token).await);
    (user_id, token)
}

#[tokio::test]
async fn a_permission_removed_after_an_import_is_gone() {
    let service = Service::start().await;
    let directory = service.data().parent().expect("a directory").to_owned();
    let (user_id, token) = admin(&service).await;
    let version = async || service.get("/v1/users/me").bearer(&token).send().await.json()["version"].as_i64();
    let before = version().await;
    let (_, exported, _) = users(&directory, &["export"], "").await;
    for statement in ["DELETE FROM users", "DELETE FROM login_names"] {
        assert_eq!(on_every_shard(&service, statement).await, 1);
    }
    let (code, _, err) = users(&directory, &["import", "-"], &exported).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(version().await, before, "the version has changed");
    assert_eq!(service.set_permissions(&user_id, &["read", "write"]).await.status, 200);
    assert!(!is_admin(&service, &token).await, "a former snapshot is in force");
}

#[tokio::test]
async fn a_permission_removed_after_a_restore_is_gone() {
    let service = Service::start().await;
    let (user_id, token) = admin(&service).await;
    // As restored from a backup from before the last changes.
    assert_eq!(on_every_shard(&service, "UPDATE users SET version = version - 3").await, 1);
    assert_eq!(service.set_permissions(&user_id, &["read", "write"]).await.status, 200);
    assert!(!is_admin(&service, &token).await, "a former snapshot is in force");
}
