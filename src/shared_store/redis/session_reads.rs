//! Reading sessions, by far the most frequent thing that Redis is asked for: those that come while others are read are read
//! together, by one command.
//!
//! In a Cluster each is read on its own: users' keys are in different slots, and a command may name those of one only.

use std::{sync::Arc, time::Instant};

use fred::{
    error::{Error, ErrorKind},
    types::Value,
};
use symbolon_batcher::{BatchError, BatchLimits, BatchStats, BatchTiming, Batcher};

use super::{
    codec,
    connection::{COMMAND_TIMEOUT, Command},
    node::{Care, late},
    nodes::Nodes,
    sessions::{session_key, user_key},
};
use crate::model::{SessionId, StoredSession, UserId, UserSnapshot};

/// A second pass would cost more than it saves.
const TIMING: BatchTiming = BatchTiming { timeout: COMMAND_TIMEOUT, yields: 1 };

/// A session that is alive by its user's generation, if there is one, and its user; or why it can't be read.
type Live = Result<Option<(StoredSession, UserSnapshot)>, Arc<dyn std::error::Error + Send + Sync>>;

/// A session by its user.
type Id = (UserId, SessionId);

/// Reads sessions.
#[derive(Debug)]
pub(super) struct SessionReads {
    nodes: Arc<Nodes>,
    /// None if each is read on its own.
    batcher: Option<Batcher<Id, Live, Error>>,
}

impl SessionReads {
    pub(super) fn new(nodes: Arc<Nodes>, policy: BatchLimits) -> Self {
        let joins = policy.max_keys > 1 && !nodes.is_cluster();
        Self { nodes, batcher: joins.then(|| Batcher::new(policy, TIMING)) }
    }

    /// A session that is alive by its user's generation, whatever the time.
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
                    BatchError::TimedOut => late(),
                    // It dies only with the runtime.
                    BatchError::Aborted => Error::new(ErrorKind::Canceled, "the reading task has ended"),
                    BatchError::Fetch(error) => error,
                })?
            }
        };
        found.ok_or_else(|| Error::new(ErrorKind::Protocol, "an answer was left out"))
    }

    pub(super) fn stats(&self) -> Option<BatchStats> {
        self.batcher.as_ref().map(Batcher::stats)
    }
}

async fn fetch(nodes: &Nodes, ids: Vec<Id>, deadline: Instant) -> Result<Vec<(Id, Live)>, Error> {
    let keys: Vec<String> =
        ids.iter().flat_map(|&(user_id, session_id)| [user_key(user_id), session_key(user_id, session_id)]).collect();
    let first = keys.first().cloned().unwrap_or_default();
    let answer = nodes.send(&first, Command::new("MGET", keys), Care::Primary, deadline).await?;
    // They are read here, where one thread has the answer: the texts share it, and to share among threads costs more.
    let mut texts = answer.into_array().into_iter();
    let mut next = || texts.next().unwrap_or(Value::Null);
    Ok(ids.into_iter().map(|id| (id, live(id, [next(), next()]))).collect())
}

/// Its user's generation and snapshot, and the session, as they are stored; null if they are not there.
fn live((user_id, _): Id, texts: [Value; 2]) -> Live {
    let [Some(user), Some(session)] = texts.each_ref().map(Value::as_str) else { return Ok(None) };
    codec::decode_live(user_id, [&user, &session]).map_err(Arc::from)
}
