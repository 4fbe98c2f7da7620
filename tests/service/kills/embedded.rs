//! Embedded storage: files of one directory.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::join_all;
use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use super::{course::Storage, probe::Probe, settings};
use crate::{
    servers::volume::Volume,
    service::harness::{Service, until},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room on the disk; where none can be mounted, files that can't grow.
    Full,
    /// As Linux makes a disk that fails.
    ReadOnly,
    /// Another process has the writer's locks of all files and does not go on.
    Locked,
    /// The file of a shard is not at its place.
    Away,
}

/// The file that is taken away.
const SHARD: usize = 1;

pub struct Embedded {
    directory: Arc<TempDir>,
    volume: Option<Volume>,
    locks: Vec<SqliteConnection>,
}

impl Embedded {
    pub fn new() -> Self {
        let volume = Volume::mount("root", 96);
        let own = || Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self { directory: volume.as_ref().map_or_else(own, Volume::directory), volume, locks: Vec::new() }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.data()).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
    }

    async fn lock(&mut self) {
        for file in self.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "sqlite")) {
            let url = format!("sqlite://{}", file.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
            connection.execute("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE").await.expect("the lock");
            self.locks.push(connection);
        }
    }

    async fn wait_until_refused(&self, fault: Fault, service: &Service, probe: &Probe, shard: usize) {
        until("writes are refused", async || {
            // What is freed meanwhile is room again.
            self.volume.iter().filter(|_| fault == Fault::Full).for_each(Volume::fill);
            probe.write(service, shard).await == 503
        })
        .await;
    }

    fn shard(&self) -> (PathBuf, PathBuf) {
        let file = self.data().join(format!("db-node-{SHARD}.sqlite"));
        let aside = self.data().join("aside");
        (file, aside)
    }
}

impl Storage for Embedded {
    type Fault = Fault;
    const FAULTS: &'static [Fault] = &[Fault::Full, Fault::ReadOnly, Fault::Away, Fault::Locked];

    async fn start(&self) -> Service {
        let log = super::log();
        Service::on_a_disk_that_fails(Arc::clone(&self.directory), &settings(&log, &[])).await
    }

    fn store_to_kill(_number: usize) -> Option<Fault> {
        None
    }

    async fn strike(&mut self, fault: Fault, service: &Service, probe: &Probe) {
        match fault {
            Fault::Full if self.volume.is_none() => service.let_files_grow(false),
            Fault::Full => {}
            Fault::ReadOnly => service.let_disk_be_written(false),
            Fault::Locked => self.lock().await,
            Fault::Away => {
                let (file, aside) = self.shard();
                std::fs::rename(file, aside).expect("the file");
                until("the instance is not ready", async || service.get("/v1/health/ready").send().await.status == 503)
                    .await;
                for shard in (0..3).filter(|shard| *shard != SHARD) {
                    assert_eq!(probe.write(service, shard).await, 200, "{shard} has its file");
                }
                return;
            }
        }
        join_all((0..3).map(|shard| self.wait_until_refused(fault, service, probe, shard))).await;
        for shard in 0..3 {
            assert_eq!(probe.read(service, shard).await, 200, "reading needs no room and no lock");
        }
        assert_eq!(probe.session(service).await, 200);
    }

    async fn lift(&mut self, fault: Fault, service: &Service) {
        match (fault, &self.volume) {
            (Fault::Full, Some(volume)) => volume.empty(),
            (Fault::Full, None) => service.let_files_grow(true),
            (Fault::ReadOnly, _) => service.let_disk_be_written(true),
            (Fault::Locked, _) => self.locks.clear(),
            (Fault::Away, _) => {
                let (file, aside) = self.shard();
                std::fs::rename(aside, file).expect("the file");
            }
        }
    }
}
