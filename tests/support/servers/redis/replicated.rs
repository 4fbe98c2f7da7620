//! A primary with a replica, and a Sentinel that watches them.

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::{Certificates, Redis, USER, binary, cli, url};
use crate::support::{
    block_until,
    servers::{Server, directory_of, free_port, own},
};

/// A primary and its replica.
#[derive(Debug)]
pub struct RedisPair {
    pub primary: Redis,
    pub replica: Redis,
}

/// A primary and its replica, watched by a Sentinel.
#[derive(Debug)]
pub struct RedisSentinel {
    pub primary: Redis,
    pub replica: Redis,
    port: u16,
    certificates: Option<Arc<Certificates>>,
    _server: Server,
    _directory: TempDir,
}

impl RedisPair {
    pub fn start() -> Self {
        Self::with(None)
    }

    fn with(certificates: Option<Arc<Certificates>>) -> Self {
        let primary = Redis::with(free_port(), certificates.clone(), &[]);
        let replica = Redis::with(free_port(), certificates, &["--replicaof", "127.0.0.1", &primary.port.to_string()]);
        block_until("the replica follows", || {
            replica.command(&["info", "replication"]).contains("master_link_status:up")
        });
        Self { primary, replica }
    }

    pub fn url(&self) -> String {
        self.primary.url()
    }

    /// The CA to verify it with, if it speaks TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.primary.ca()
    }
}

impl RedisSentinel {
    pub fn start() -> Self {
        Self::with(None)
    }

    pub fn with_certificates(certificates: Certificates) -> Self {
        Self::with(Some(Arc::new(certificates)))
    }

    fn with(certificates: Option<Arc<Certificates>>) -> Self {
        let RedisPair { primary, replica } = RedisPair::with(certificates.clone());
        let (directory, port) = (directory_of(USER), free_port());
        let tls = certificates.iter().flat_map(|certificates| certificates.settings(port)).collect::<Vec<_>>();
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            directory.path().display(),
            primary.port,
        );
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("a file of settings");
        own(USER, &file);
        let arguments = [file.display().to_string(), "--sentinel".to_owned()].into_iter().chain(tls).collect();
        let server = Server::start(USER, &binary(), arguments, directory.path().join("log"));
        let sentinel = Self { primary, replica, port, certificates, _server: server, _directory: directory };
        block_until("the Sentinel knows the replica", || {
            sentinel.command(&["sentinel", "replicas", "main"]).contains(&sentinel.replica.port.to_string())
        });
        sentinel
    }

    /// The CA to verify all of them with, if they speak TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.primary.ca()
    }

    fn command(&self, arguments: &[&str]) -> String {
        let output = cli(self.ca().as_deref(), self.port).args(arguments).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn url(&self) -> String {
        let url = url("redis-sentinel", self.certificates.as_deref(), self.port);
        format!("{url}?sentinelServiceName=main")
    }
}
