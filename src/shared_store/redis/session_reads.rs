//! Batched session reads, by far the most frequent requests to Redis: reads that arrive while others are in progress share
//! one command.
//!
//! In a Cluster they are not batched, because the keys of users are in different slots, and a command may use one slot only.

use std::{sync::Arc, time::Instant};

use fred::{
    error::{Error, ErrorKind},
    types::Value,
};
use symbolon_batcher::{BatchError, BatchLimits, BatchStats, BatchTiming, Batcher};

use super::{
    codec,
    command::{COMMAND_TIMEOUT, Command},
    errors::timed_out,
    keys,
    node::WriteConcern,
    nodes::Nodes,
};
use crate::model::{SessionId, StoredSession, UserId, UserSnapshot};

/// More than one yield would cost more than it saves.
const TIMING: BatchTiming = BatchTiming { timeout: COMMAND_TIMEOUT, yields: 1 };

/// A session of its user's current generation, if there is one, with the user's snapshot; or why they can't be decoded.
type Live = Result<Option<(StoredSession, UserSnapshot)>, Arc<dyn std::error::Error + Send + Sync>>;

/// User id and session id.
type Id = (UserId, SessionId);

/// Reads sessions in batches.
#[derive(Debug)]
pub(super) struct SessionReads {
    nodes: Arc<Nodes>,
    /// `None` if reads are not batched.
    batcher: Option<Batcher<Id, Live, Error>>,
}

impl SessionReads {
    pub(super) fn new(nodes: Arc<Nodes>, limits: BatchLimits) -> Self {
        let is_batched = limits.max_keys > 1 && !nodes.is_cluster();
        Self { nodes, batcher: is_batched.then(|| Batcher::new(limits, TIMING)) }
    }

    /// Reads a session of its user's current generation. Does not check its expiry.
    pub(super) async fn read(&self, id: Id) -> Result<Live, Error> {
        let found = match &self.batcher {
            None => {
                let deadline = Instant::now() + COMMAND_TIMEOUT;
                Box::pin(fetch(&self.nodes, vec![id], deadline)).await?.pop().map(|(_, live)| live)
            }
            Some(batcher) => {
                let nodes = Arc::clone(&self.nodes);
                let found = batcher.find(id, move |ids, deadline| {
                    let nodes = Arc::clone(&nodes);
                    async move { fetch(&nodes, ids, deadline.into_std()).await }
                });
                found.await.map_err(|failure| match failure {
                    BatchError::TimedOut => timed_out(),
                    // The task ends early only when the runtime shuts down.
                    BatchError::Aborted => Error::new(ErrorKind::Canceled, "the batch task has ended"),
                    BatchError::Fetch(error) => error,
                })?
            }
        };
        found.ok_or_else(|| Error::new(ErrorKind::Protocol, "an answer is missing"))
    }

    pub(super) fn stats(&self) -> Option<BatchStats> {
        self.batcher.as_ref().map(Batcher::stats)
    }
}

async fn fetch(nodes: &Nodes, ids: Vec<Id>, deadline: Instant) -> Result<Vec<(Id, Live)>, Error> {
    let names: Vec<String> = ids
        .iter()
        .flat_map(|&(user_id, session_id)| [keys::user(user_id), keys::session(user_id, session_id)])
        .collect();
    let first = names.first().cloned().unwrap_or_default();
    let answer = nodes.send(&first, Command::new("MGET", names), WriteConcern::Primary, deadline).await?;
    // Decoded here, because the texts share the answer, and sharing it between threads costs more.
    let mut texts = answer.into_array().into_iter();
    let mut next = || texts.next().unwrap_or(Value::Null);
    Ok(ids.into_iter().map(|id| (id, decode(id, [next(), next()]))).collect())
}

/// Decodes the stored texts of a user and a session; null means that there is none.
fn decode((user_id, _): Id, texts: [Value; 2]) -> Live {
    let [Some(user), Some(session)] = texts.each_ref().map(Value::as_str) else { return Ok(None) };
    codec::decode_live(user_id, [&user, &session]).map_err(Arc::from)
}
