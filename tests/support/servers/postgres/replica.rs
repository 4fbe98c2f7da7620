//! A streaming replica.

use super::{Postgres, USER, data, directory_of, run};
use crate::support::block_until;

impl Postgres {
    /// A new replica that follows this server.
    pub fn replica(&self) -> Self {
        let directory = directory_of(USER);
        let port = self.port.to_string();
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "--no-sync", "--checkpoint=fast"];
        run("pg_basebackup", &[&from[..], &["--write-recovery-conf", "--pgdata"]].concat(), &data(&directory));
        let replica = Self::with(directory, &[]);
        block_until("the replica follows", || {
            self.psql("postgres", "SELECT state FROM pg_stat_replication").is_ok_and(|state| state == "streaming")
        });
        replica
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote()").as_deref(), Ok("t"));
    }
}
