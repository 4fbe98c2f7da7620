//! Reading sessions, by far the most frequent thing that Redis is asked for: those that come while others are read are read
//! together, by one command.
//!
//! In a Cluster each is read on its own: users' keys are in different slots, and a command may name those of one only.

use std::{sync::Arc, time::Instant};

use fred::{
    error::{Error, ErrorKind},
    types::Value,
};

use super::{
    connection::{COMMAND_TIMEOUT, Command},
    node::{Care, within},
    nodes::Nodes,
    sessions::{session_key, user_key},
};
use crate::{
    batcher::{BatchPolicy, BatchStats, Batcher},
    sessions::SessionId,
    users::UserId,
};

/// What there is of a session, as it is stored: its user's generation and snapshot, and the session; null if it is not there.
pub(super) type Texts = [Value; 2];

/// A session by its user.
type Id = (UserId, SessionId);

/// Reads sessions.
#[derive(Debug)]
pub(super) struct SessionReads {
    nodes: Arc<Nodes>,
    /// None if each is read on its own.
    batcher: Option<Batcher<Id, Texts, Error>>,
}

impl SessionReads {
    pub(super) fn new(nodes: Arc<Nodes>, policy: BatchPolicy) -> Self {
        let joins = policy.most > 1 && !nodes.is_cluster();
        Self { nodes, batcher: joins.then(|| Batcher::new(policy)) }
    }

    /// What there is of a session.
    pub(super) async fn read(&self, id: Id) -> Result<Texts, Error> {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        let found = match &self.batcher {
            None => Box::pin(fetch(&self.nodes, vec![id], deadline)).await?.pop().map(|(_, texts)| texts),
            Some(batcher) => {
                let nodes = Arc::clone(&self.nodes);
                let fetched = batcher.find(id, move |ids| {
                    let nodes = Arc::clone(&nodes);
                    async move { fetch(&nodes, ids, Instant::now() + COMMAND_TIMEOUT).await }
                });
                // Its task dies only with the runtime.
                let died = || Err(Error::new(ErrorKind::Canceled, "the reading task has ended"));
                within(deadline, async { fetched.await.unwrap_or_else(died) }).await?
            }
        };
        found.ok_or_else(|| Error::new(ErrorKind::Protocol, "an answer was left out"))
    }

    pub(super) fn stats(&self) -> Option<BatchStats> {
        self.batcher.as_ref().map(Batcher::stats)
    }
}

async fn fetch(nodes: &Nodes, ids: Vec<Id>, deadline: Instant) -> Result<Vec<(Id, Texts)>, Error> {
    let keys: Vec<String> =
        ids.iter().flat_map(|&(user_id, session_id)| [user_key(user_id), session_key(user_id, session_id)]).collect();
    let first = keys.first().cloned().unwrap_or_default();
    let answer = nodes.send(&first, Command::new("MGET", keys), Care::Primary, deadline).await?;
    let mut texts = answer.into_array().into_iter();
    let mut next = || texts.next().unwrap_or(Value::Null);
    Ok(ids.into_iter().map(|id| (id, [next(), next()])).collect())
}
