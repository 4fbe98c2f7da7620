//! A small disk that can be filled up.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use super::{is_root, own};
use crate::support::temporary_directory;

/// A file system in memory; unmounted when dropped, and when this process is killed.
#[derive(Debug)]
pub struct Volume {
    directory: Arc<TempDir>,
    /// Unmounts at the end of its input. Lazily: a process that is being killed may still have files open.
    keeper: Child,
}

impl Volume {
    /// A volume of `mib` MiB that `user` owns; none if this process may not mount one.
    pub fn mount(user: &str, mib: u32) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let directory = Arc::new(temporary_directory());
        let options = ["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(directory.path()).output().expect("mount runs");
        if !mounted.status.success() {
            return None;
        }
        let mut keeper = Command::new("sh");
        keeper.args(["-c", "read -r _; umount --lazy \"$0\""]).arg(directory.path());
        // In a process group of its own, so that a signal to the test's group does not end it.
        let keeper = keeper.stdin(Stdio::piped()).process_group(0).spawn().expect("sh runs");
        own(user, directory.path());
        Some(Self { directory, keeper })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory that it is mounted on.
    pub fn directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// Leaves no byte of room.
    pub fn fill(&self) {
        let mut filling = File::options().append(true).create(true).open(self.filling()).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            while filling.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        std::fs::remove_file(self.filling()).expect("it was filled");
    }

    fn filling(&self) -> PathBuf {
        self.path().join("filling")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("it has unmounted");
    }
}
