//! Active health checks: asks every node of a balancer at an interval and tells the balancer what came of it.
//!
//! What is asked is the caller's: an HTTP endpoint ([`http`]), or a database. Nodes are asked at the same time, so one
//! that hangs delays nobody else's check. The first answer of a node counts at once; after that it takes several in a row
//! to change what is thought of it, so that one lost packet ejects nobody and one good moment brings nobody back.

pub mod http;

use std::{
    collections::HashMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use symbolon_balancer::{Balancer, Node};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ticks::Ticks;

/// How nodes are asked, and how many answers in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPolicy {
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many failures in a row make a node unhealthy, at least 1.
    pub fall: u32,
    /// How many successes in a row make it healthy again, at least 1.
    pub rise: u32,
}

impl Default for CheckPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), fall: 2, rise: 2 }
    }
}

/// What is thought of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    healthy: bool,
    /// How many answers in a row spoke against it.
    against: u32,
}

impl Verdict {
    /// After one more answer.
    fn after(before: Option<Self>, passed: bool, policy: &CheckPolicy) -> Self {
        let Some(Self { healthy, against }) = before.filter(|before| before.healthy != passed) else {
            return Self { healthy: passed, against: 0 };
        };
        let needed = if healthy { policy.fall } else { policy.rise };
        if against + 1 >= needed {
            Self { healthy: passed, against: 0 }
        } else {
            Self { healthy, against: against + 1 }
        }
    }
}

/// Asks the nodes of `balancer`, whichever they are at the time, with `probe` until `stop`.
pub async fn run<F, E>(
    balancer: Arc<Balancer>,
    policy: CheckPolicy,
    probe: impl Fn(Arc<Node>) -> F,
    stop: CancellationToken,
) where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut verdicts: HashMap<String, Verdict> = HashMap::new();
    let mut ticks = Ticks::every(policy.interval);
    // Whoever stops waiting for this stops the checks under way with it.
    let mut checks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = ticks.next() => {
                let nodes = balancer.nodes();
                verdicts.retain(|id, _| nodes.iter().any(|node| node.spec().id == *id));
                for node in nodes {
                    let answer = tokio::time::timeout(policy.timeout, probe(Arc::clone(&node)));
                    checks.spawn(async move {
                        let failure = match answer.await {
                            Ok(Ok(())) => None,
                            Ok(Err(error)) => Some(error.to_string()),
                            Err(_) => Some(format!("no answer within {:?}", policy.timeout)),
                        };
                        (node, failure)
                    });
                }
            }
            Some(checked) = checks.join_next(), if !checks.is_empty() => match checked {
                Ok((node, failure)) => note(&balancer, &mut verdicts, &policy, &node, failure),
                Err(error) => tracing::error!(%error, "a health check died"),
            },
        }
    }
}

fn note(
    balancer: &Balancer,
    verdicts: &mut HashMap<String, Verdict>,
    policy: &CheckPolicy,
    node: &Node,
    failure: Option<String>,
) {
    let id = &node.spec().id;
    let before = verdicts.get(id).copied();
    let verdict = Verdict::after(before, failure.is_none(), policy);
    verdicts.insert(id.clone(), verdict);
    balancer.set_healthy(id, verdict.healthy, Instant::now());
    match (before.is_none_or(|before| before.healthy), verdict.healthy) {
        (true, false) => {
            let reason = failure.unwrap_or_default();
            tracing::warn!(node = id, url = node.spec().url, reason, "a node is unhealthy");
        }
        (false, true) => tracing::info!(node = id, url = node.spec().url, "a node is healthy again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
