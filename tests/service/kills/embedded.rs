//! Faults of embedded storage.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::join_all;
use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use super::{fault_run::Storage, probe::Probe, settings};
use crate::support::{Service, servers::volume::Volume, temporary_directory, until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full. Where no disk can be mounted, files cannot grow.
    Full,
    /// The disk is read-only, as Linux makes a disk that fails.
    ReadOnly,
    /// Another process has the write locks of all files, and hangs.
    Locked,
    /// The file of a shard is missing.
    Missing,
}

/// The shard whose file is moved.
const SHARD: usize = 1;

pub struct Embedded {
    directory: Arc<TempDir>,
    volume: Option<Volume>,
    locks: Vec<SqliteConnection>,
}

impl Embedded {
    pub fn new() -> Self {
        let volume = Volume::mount("root", 96);
        let own = || Arc::new(temporary_directory());
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
            // The service may free space while it refuses writes.
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
    const FAULTS: &'static [Fault] = &[Fault::Full, Fault::ReadOnly, Fault::Missing, Fault::Locked];

    async fn start(&self) -> Service {
        let log = super::log();
        Service::on_failing_disk(Arc::clone(&self.directory), &settings(&log, &[])).await
    }

    fn store_to_kill(_number: usize) -> Option<Fault> {
        None
    }

    async fn inject(&mut self, fault: Fault, service: &Service, probe: &Probe) {
        match fault {
            Fault::Full if self.volume.is_none() => service.set_files_growable(false),
            Fault::Full => {}
            Fault::ReadOnly => service.set_disk_writable(false),
            Fault::Locked => self.lock().await,
            Fault::Missing => {
                let (file, aside) = self.shard();
                std::fs::rename(file, aside).expect("the file");
                until("the instance is not ready", async || !service.is_ready().await).await;
                for shard in (0..3).filter(|shard| *shard != SHARD) {
                    assert_eq!(probe.write(service, shard).await, 200, "shard {shard} refuses writes");
                }
                return;
            }
        }
        join_all((0..3).map(|shard| self.wait_until_refused(fault, service, probe, shard))).await;
        for shard in 0..3 {
            assert_eq!(probe.read(service, shard).await, 200, "shard {shard} refuses reads");
        }
        assert_eq!(probe.session(service).await, 200);
    }

    async fn lift(&mut self, fault: Fault, service: &Service) {
        match (fault, &self.volume) {
            (Fault::Full, Some(volume)) => volume.empty(),
            (Fault::Full, None) => service.set_files_growable(true),
            (Fault::ReadOnly, _) => service.set_disk_writable(true),
            (Fault::Locked, _) => self.locks.clear(),
            (Fault::Missing, _) => {
                let (file, aside) = self.shard();
                std::fs::rename(aside, file).expect("the file");
            }
        }
    }
}
