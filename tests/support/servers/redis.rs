//! Private Redis servers, with TLS or without.

mod certificates;
mod cluster;
mod replicated;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use symbolon_batcher::BatchLimits;

use tempfile::TempDir;

use super::{Server, directory_of, free_port, installed, own};
use crate::support::block_until;
pub use certificates::Certificates;
pub use cluster::RedisCluster;
pub use replicated::{RedisPair, RedisSentinel};

const USER: &str = "redis";

/// The default batches of session reads.
pub const DEFAULT_BATCHES: BatchLimits = BatchLimits { max_in_flight: 2, max_keys: 64 };

/// A running server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    certificates: Option<Arc<Certificates>>,
    server: Server,
    _directory: TempDir,
}

impl Redis {
    /// A new server that writes every change to its file before it answers.
    pub fn start() -> Self {
        Self::with(free_port(), None, &[])
    }

    /// One that waits for the disk. The others may answer before they have written, if the disk is busy.
    pub fn start_waiting_for_disk() -> Self {
        Self::with(free_port(), None, &["--appendfsync", "always"])
    }

    /// One that speaks TLS only.
    pub fn with_certificates(certificates: Certificates) -> Self {
        Self::with(free_port(), Some(Arc::new(certificates)), &[])
    }

    /// One that requires a password.
    pub fn with_password(certificates: Certificates, password: &str) -> Self {
        let redis = Self::with_certificates(certificates);
        redis.command(&["config", "set", "requirepass", password]);
        redis
    }

    fn with(port: u16, certificates: Option<Arc<Certificates>>, more: &[&str]) -> Self {
        let directory = directory_of(USER);
        let path = directory.path().display().to_string();
        let port_settings = match &certificates {
            Some(certificates) => certificates.settings(port),
            None => vec!["--port".to_owned(), port.to_string()],
        };
        let settings = ["--bind", "127.0.0.1", "--dir", &path, "--save", "", "--appendonly", "yes"];
        // A file that is written but not synced survives a kill of the process. A diskless replication would begin a second
        // later.
        let more_settings = ["--appendfsync", "everysec", "--repl-diskless-sync", "no"];
        let settings = settings.iter().chain(&more_settings).chain(more).map(|&setting| setting.to_owned());
        let arguments = port_settings.into_iter().chain(settings).collect();
        let server = Server::start(USER, &binary(), arguments, directory.path().join("log"));
        let redis = Self { port, certificates, server, _directory: directory };
        redis.wait();
        redis
    }

    fn wait(&self) {
        block_until("Redis answers", || self.command(&["ping"]) == "PONG");
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, on its former data.
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait();
    }

    /// Stops its execution; connections stay open.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Continues its execution.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        url("redis", self.certificates.as_deref(), self.port)
    }

    /// The CA to verify it with, if it speaks TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.certificates.as_ref().map(|certificates| certificates.ca())
    }

    /// Fills its memory, so that it refuses every command that takes more.
    pub fn fill(&self) {
        let memory = self.command(&["info", "memory"]);
        let used = memory.lines().find_map(|line| line.trim().strip_prefix("used_memory:")).expect("the memory in use");
        let limit_at = |more: u64| {
            let limit = (used.parse::<u64>().expect("a number") + more).to_string();
            assert_eq!(self.command(&["config", "set", "maxmemory", &limit]), "OK");
        };
        assert_eq!(self.command(&["config", "set", "maxmemory-policy", "noeviction"]), "OK");
        limit_at(1024 * 1024);
        let is_full = |answer: &str| answer.starts_with("OOM");
        // In a cluster some of the keys belong to other nodes.
        let mut number = 0;
        block_until("it is full", || {
            number += 1;
            is_full(&self.command(&["set", &format!("filling-{number}"), &"x".repeat(100 * 1024)]))
        });
        // Memory that a closed connection gives back must not make room again.
        limit_at(0);
    }

    /// Removes the limit of its memory.
    pub fn empty(&self) {
        assert_eq!(self.command(&["config", "set", "maxmemory", "0"]), "OK");
    }

    /// Runs a command and returns what redis-cli prints.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = cli(self.ca().as_deref(), self.port).args(arguments).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn url(scheme: &str, certificates: Option<&Certificates>, port: u16) -> String {
    let scheme = if certificates.is_some() { scheme.replacen("redis", "rediss", 1) } else { scheme.to_owned() };
    format!("{scheme}://127.0.0.1:{port}")
}

fn cli(ca: Option<&Path>, port: u16) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    if let Some(ca) = ca {
        command.args(["--tls", "--cacert"]).arg(ca);
    }
    command
}

fn binary() -> PathBuf {
    installed("Redis", ["/usr/bin/redis-server".into()])
}
