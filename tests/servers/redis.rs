//! Private Redis servers: one, a Cluster of three, or a pair watched by a Sentinel.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{Server, directory_of, free_port, installed, own, wait_until};

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

/// A primary, its replica, and a Sentinel that watches them.
#[derive(Debug)]
pub struct RedisSentinel {
    pub primary: Redis,
    pub replica: Redis,
    port: u16,
    _server: Server,
    _directory: TempDir,
}

impl RedisSentinel {
    pub fn start() -> Self {
        let primary = Redis::start();
        let replica = Redis::with(free_port(), &["--replicaof", "127.0.0.1", &primary.port.to_string()]);
        wait_until("the replica follows", || {
            replica.command(&["info", "replication"]).contains("master_link_status:up")
        });
        let (directory, port) = (directory_of(USER), free_port());
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            directory.path().display(),
            primary.port,
        );
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("a file of settings");
        own(USER, &file);
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let server = Server::start(USER, &binary(), arguments, directory.path().join("log"));
        let sentinel = Self { primary, replica, port, _server: server, _directory: directory };
        wait_until("the Sentinel knows the replica", || {
            command(port, &["sentinel", "replicas", "main"]).contains(&sentinel.replica.port.to_string())
        });
        sentinel
    }

    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=main", self.port)
    }
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
        let server = Server::start(USER, &binary(), arguments, directory.path().join("log"));
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
        command(self.port, arguments)
    }
}

fn command(port: u16, arguments: &[&str]) -> String {
    let output =
        Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output().expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn binary() -> PathBuf {
    installed("Redis", ["/usr/bin/redis-server".into()])
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
