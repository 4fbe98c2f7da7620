//! A root directory with the kernel's files, for tests.

use std::path::PathBuf;

use super::{Machine, Reading, read};

/// The usual mount of version 2, and mounts of version 1 with one hierarchy for each controller.
pub(super) const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
pub(super) const V1: [&str; 4] = [
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct",
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset",
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
];

pub(super) struct Fixture(tempfile::TempDir);

impl Fixture {
    /// `groups` and `mounts` are the lines of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn new(groups: &[&str], mounts: &[&str]) -> Self {
        let fixture = Self(tempfile::tempdir().expect("a directory"));
        fixture.file("proc/self/cgroup", groups.join("\n") + "\n").file("proc/self/mountinfo", mounts.join("\n") + "\n")
    }

    pub(super) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        std::fs::write(path, content).expect("a file");
        self
    }

    pub(super) fn files(self, directory: &str, files: &[(&str, &str)]) -> Self {
        files.iter().fold(self, |fixture, (name, content)| fixture.file(&format!("{directory}/{name}"), content))
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Reads as on a machine with eight processors and 16 GiB.
    pub(super) fn read(&self) -> Reading {
        read(self.0.path(), Machine { cpus: Some(8), memory: Some(16 << 30) })
    }
}
