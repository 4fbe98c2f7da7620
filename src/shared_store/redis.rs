//! Shared store in Redis: a single server, Sentinel, or a Cluster.
//!
//! The keys of one user share the hash tag `{user_id}`. They are in one slot of a Cluster, so one script can check a condition
//! and write atomically:
//!
//! | key | type | content |
//! |---|---|---|
//! | `symbolon:{id}:user` | string | the generation, the snapshot's version, and the snapshot |
//! | `symbolon:{id}:index` | sorted set | session ids by absolute expiry |
//! | `symbolon:{id}:revocations` | sorted set | pending revocations, by expiry |
//! | `symbolon:{id}:session:<id>` | string | one session: generation, idle expiry, absolute expiry, creation, digest, address, user agent |
//! | `symbolon:throttle:{<digest>}` | string | time at which a throttle bucket will be full |
//! | `symbolon:{fleet}:seen`, `:records` | sorted set, hash | heartbeats and records of instances |
//! | `symbolon:{fleet}:balancing` | hash `algorithm`, `node:<id>` | load-balancing settings of operators |
//! | `symbolon:{fleet}:removed` | sorted set | instances removed from load balancing, by time |
//! | `symbolon:{fleet}:note:<name>` | hash `text`, `fence` | a note |
//! | `symbolon:lock:{<name>}` | hash | a lock |
//!
//! All keys except those of locks and of the fleet have a time to live, and correctness does not depend on when Redis deletes
//! them: the times in a session decide whether it is live. Scripts do not decode JSON, because Lua would turn `[]` into `{}` and
//! round integers. Data that every request reads is stored in strings: one `MGET` reads many sessions at less than half the cost
//! of a script.

mod address;
mod balancing;
mod cluster;
pub mod codec;
mod command;
mod connection;
mod durability;
mod errors;
mod fleet;
mod hints;
mod keys;
mod node;
mod nodes;
mod notes;
mod role;
mod scripts;
mod session_reads;
mod sessions;
mod store;
mod throttle;
mod tls;
mod totals;

use std::time::Instant;

use async_trait::async_trait;
use symbolon_batcher::BatchStats;

pub use self::{
    address::{InvalidUrl, RedisAddress},
    connection::ConnectError,
    hints::{Hints, TOPOLOGY_CHANNEL},
    store::RedisSharedStore,
    tls::CaFileError,
};
use self::{
    command::{COMMAND_TIMEOUT, Command},
    node::WriteConcern,
};
use super::SharedStore;
use crate::{breaker::Circuit, clock::Timestamp, store_error::StoreError};

#[async_trait]
impl SharedStore for RedisSharedStore {
    /// Succeeds in a Cluster if at least one node answers, because the other nodes affect their own users only.
    async fn ping(&self) -> Result<(), StoreError> {
        self.nodes.ping().await.map_err(|source| self.unavailable(source))
    }

    /// Returns the time of the server that holds the instance registry.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let answer = self
            .nodes
            .send(&keys::heartbeats(), Command::bare("TIME"), WriteConcern::Primary, Instant::now() + COMMAND_TIMEOUT)
            .await;
        let (seconds, micros): (i64, i64) = self.converted(answer)?;
        Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000))))
    }

    /// Deletes instances without heartbeats, which are members of one key. Redis deletes all other expired entries itself.
    async fn reap(&self, _: Timestamp) -> Result<u64, StoreError> {
        self.reap_fleet().await.map(|()| 0)
    }

    fn circuit(&self) -> Circuit {
        self.nodes.circuit()
    }

    fn batching(&self) -> Option<BatchStats> {
        self.session_reads.stats()
    }

    async fn close(&self) {
        self.nodes.close().await;
    }
}
