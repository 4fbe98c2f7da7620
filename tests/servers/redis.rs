//! Private Redis servers: one, or a Cluster of three.

use std::process::Command;

use tempfile::TempDir;

use super::{Server, directory_of, free_port, installed, wait_until};

const USER: &str = "redis";

/// A running server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    server: Server,
    _directory: TempDir,
}

/// Three primaries that share the slots.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl Redis {
    /// A new server that has written every change to the disk before it answers.
    pub fn start() -> Self {
        Self::with(free_port(), &[])
    }

    fn with(port: u16, more: &[&str]) -> Self {
        let directory = directory_of(USER);
        let path = directory.path().display().to_string();
        let port_text = port.to_string();
        let arguments = [
            "--port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--dir",
            &path,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ];
        let arguments: Vec<String> = arguments.iter().chain(more).map(|&argument| argument.to_owned()).collect();
        let binary = installed("Redis", ["/usr/bin/redis-server".into()]);
        let server = Server::start(USER, &binary, arguments, directory.path().join("log"));
        let redis = Self { port, server, _directory: directory };
        redis.wait();
        redis
    }

    fn wait(&self) {
        wait_until("Redis answers", || self.command(&["ping"]) == "PONG");
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

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command and returns what redis-cli prints.
    pub fn command(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl RedisCluster {
    pub fn start() -> Self {
        // The bus of a Cluster listens 10,000 ports higher.
        let port = || std::iter::repeat_with(free_port).find(|port| *port < 55_535).expect("a low port");
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(port(), &["--cluster-enabled", "yes"])).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&addresses).arg("--cluster-yes");
        let output = create.output().expect("redis-cli runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let cluster = Self { nodes };
        wait_until("the cluster is complete", || {
            cluster.nodes.iter().all(|node| node.command(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        cluster
    }

    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.nodes[0].port)
    }
}
