//! A private PostgreSQL, and replicas of it.

mod replica;
mod tests;

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Server, certificates::Certificate, command_as, directory_of, free_port, installed, write_private};
use crate::support::{
    block_until,
    process::{children_of, has_ended, signal},
};

const USER: &str = "postgres";

/// A running server with any number of databases.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    server: Server,
    _directory: TempDir,
}

impl Postgres {
    /// A new server. It does not wait for the disk: it need not survive a crash of the machine.
    pub fn start() -> Self {
        Self::with(initialized(), &[])
    }

    /// A new server that offers TLS under a certificate.
    pub fn start_with_tls(certificate: &Certificate) -> Self {
        let directory = initialized();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            write_private(USER, &path, text);
            path.display().to_string()
        };
        let (certificate, key) = (write("cert.pem", &certificate.pem), write("key.pem", &certificate.key_pem));
        let settings = ["ssl=on".to_owned(), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")];
        Self::with(directory, &settings)
    }

    /// A server on the data in a directory.
    fn with(directory: TempDir, settings: &[String]) -> Self {
        let port = free_port();
        let mut arguments = vec!["-D".to_owned(), data(&directory).display().to_string(), format!("-p{port}")];
        let common = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", directory.path().display()),
            "fsync=off".to_owned(),
            "max_connections=200".to_owned(),
        ];
        arguments.extend(common.iter().chain(settings).map(|setting| format!("-c{setting}")));
        let server = Server::start(USER, &binary("postgres"), arguments, directory.path().join("log"));
        let postgres = Self { port, server, _directory: directory };
        postgres.wait();
        postgres
    }

    fn wait(&self) {
        block_until("the server answers", || self.psql("postgres", "SELECT 1").is_ok());
    }

    /// Ends it at once with all of its processes, as when its machine crashes.
    pub fn kill(&mut self) {
        // A paused server starts no more processes.
        signal(self.server.id(), Signal::STOP);
        let children = children_of(self.server.id());
        self.server.kill();
        children.iter().for_each(|child| signal(*child, Signal::KILL));
        block_until("its processes have ended", || children.iter().all(|child| has_ended(*child)));
    }

    /// Shuts it down, and closes its clients' connections.
    pub fn stop(&mut self) {
        self.server.end_by(Signal::INT);
    }

    /// Starts it again, on its former data.
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait();
    }

    /// Has it hang: it accepts connections, and does not answer.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Continues its execution.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, to_send: Signal) {
        signal(self.server.id(), to_send);
        children_of(self.server.id()).into_iter().for_each(|child| signal(child, to_send));
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a database and returns its URL.
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("CREATE DATABASE {name}")).expect("a new database");
        self.url(name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement; the error is the server's message.
    pub fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let arguments =
            ["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", database, "-XAtqc", statement];
        let output = command_as(USER, &binary("psql")).args(arguments).output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory with the data of a new server in it.
fn initialized() -> TempDir {
    let directory = directory_of(USER);
    let options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"];
    run("initdb", &options, &data(&directory));
    directory
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// Runs one of the server's programs, which must succeed.
fn run(program: &str, options: &[&str], path: &Path) {
    let output = command_as(USER, &binary(program)).args(options).arg(path).output().expect("the program runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// From Debian's package, the newest version.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed("PostgreSQL", versions.map(|version| version.path().join("bin").join(name)))
}
