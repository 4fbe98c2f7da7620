//! The log of a process that a test starts.

use std::{fs::File, path::Path};

use serde_json::Value;
use tempfile::NamedTempFile;

/// A file that a process logs to; removed when dropped.
pub struct LogFile(NamedTempFile);

impl LogFile {
    pub fn new() -> Self {
        Self(NamedTempFile::new().expect("a file"))
    }

    /// What was logged up to now.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("a log")
    }

    /// The lines that are JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Asserts that none of the secrets is in any line.
    pub fn assert_free_of(&self, secrets: &[&str]) {
        let text = self.text();
        for secret in secrets {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{secret} is logged: {found:?}");
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A handle for a new process; what an earlier one logged is removed.
    pub(super) fn create(&self) -> File {
        File::create(self.path()).expect("a log file")
    }
}
