//! Embedded storage: files of one directory.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use super::{course::Storage, probe::Probe, settings};
use crate::{
    servers::{is_root, volume::Volume},
    service::harness::{Service, until},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room on the disk; where none can be mounted, files that can't grow.
    Full,
    /// What Linux does with a disk that fails: open files can't be written any more, and others are opened for reading only.
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

    fn set_writable(&self, service: &Service, may: bool) {
        let (file, directory) = if may { (0o600, 0o700) } else { (0o400, 0o500) };
        let set = |path: PathBuf, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
        service.let_files_grow(may);
        self.files().into_iter().for_each(|path| set(path, file).expect("a mode"));
        set(self.data(), directory).expect("a mode");
    }

    async fn lock(&mut self) {
        for file in self.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "sqlite")) {
            let url = format!("sqlite://{}", file.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("a connection");
            connection.execute("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE").await.expect("the lock");
            self.locks.push(connection);
        }
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
        // Root may write whatever the mode says, by these two capabilities.
        let as_others: &[&str] = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        // A limit on the size of files would end it by this signal.
        let outliving: &[&str] = &["env", "--ignore-signal=XFSZ"];
        let wrapper = if is_root() { [as_others, outliving].concat() } else { outliving.to_vec() };
        let log = super::log();
        Service::wrapped(&wrapper, Arc::clone(&self.directory), &settings(&log, &[])).await
    }

    fn store_to_kill(_number: usize) -> Option<Fault> {
        None
    }

    async fn strike(&mut self, fault: Fault, service: &Service, probe: &Probe) {
        match fault {
            Fault::Full if self.volume.is_none() => service.let_files_grow(false),
            Fault::Full => {}
            Fault::ReadOnly => self.set_writable(service, false),
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
        for shard in 0..3 {
            until("writes are refused", async || {
                // What is freed meanwhile is room again.
                self.volume.iter().filter(|_| fault == Fault::Full).for_each(Volume::fill);
                probe.write(service, shard).await == 503
            })
            .await;
        }
        for shard in 0..3 {
            assert_eq!(probe.read(service, shard).await, 200, "reading needs no room and no lock");
        }
        assert_eq!(probe.session(service).await, 200);
    }

    async fn lift(&mut self, fault: Fault, service: &Service) {
        match (fault, &self.volume) {
            (Fault::Full, Some(volume)) => volume.empty(),
            (Fault::Full, None) => service.let_files_grow(true),
            (Fault::ReadOnly, _) => self.set_writable(service, true),
            (Fault::Locked, _) => self.locks.clear(),
            (Fault::Away, _) => {
                let (file, aside) = self.shard();
                std::fs::rename(aside, file).expect("the file");
            }
        }
    }
}
