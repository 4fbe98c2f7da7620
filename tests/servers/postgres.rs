//! A private PostgreSQL.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Server, command_as, directory_of, free_port, installed, wait_until};

const USER: &str = "postgres";

/// A running server with any number of databases.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    server: Server,
    _directory: TempDir,
}

impl Postgres {
    /// A new server. It need not survive the machine's end, so it does not wait for the disk.
    pub fn start() -> Self {
        let directory = directory_of(USER);
        let data = directory.path().join("data");
        let initdb = command_as(USER, &binary("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let port = free_port();
        let arguments = [
            "-D".to_owned(),
            data.display().to_string(),
            format!("-p{port}"),
            "-clisten_addresses=127.0.0.1".to_owned(),
            format!("-cunix_socket_directories={}", directory.path().display()),
            "-cfsync=off".to_owned(),
            "-cmax_connections=200".to_owned(),
        ];
        let server = Server::start(USER, &binary("postgres"), arguments.to_vec(), directory.path().join("log"));
        let postgres = Self { port, server, _directory: directory };
        postgres.wait();
        postgres
    }

    fn wait(&self) {
        wait_until("the server answers", || self.psql("postgres", "SELECT 1").is_ok());
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, on what it left.
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait();
    }

    /// Makes a database and returns its URL.
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("CREATE DATABASE {name}")).expect("a new database");
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement; the error is what the server said.
    pub fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let arguments =
            ["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", database, "-XAtqc", statement];
        let output = command_as(USER, &binary("psql")).args(arguments).output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// From Debian's package, the newest version.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed("PostgreSQL", versions.map(|version| version.path().join("bin").join(name)))
}
