//! Active health checks: probes every node of a balancer at an interval and reports the result to the balancer.
//!
//! The caller supplies the probe: an HTTP request ([`http`]) or a database query. Nodes are probed concurrently, so a node
//! that hangs does not delay the others. The first result of a node counts at once. After that its health changes only after
//! several opposite results in a row, so that a single lost packet does not take a node out of service.

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

/// Timing and thresholds of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPolicy {
    /// Time from the start of one check to the start of the next.
    pub interval: Duration,
    /// Time after which a check fails.
    pub timeout: Duration,
    /// Consecutive failures that make a node unhealthy, at least 1.
    pub fall: u32,
    /// Consecutive successes that make it healthy again, at least 1.
    pub rise: u32,
}

impl Default for CheckPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), fall: 2, rise: 2 }
    }
}

/// Health of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Health {
    healthy: bool,
    /// Consecutive results that contradict `healthy`.
    contrary: u32,
}

impl Health {
    /// Returns the health after one more result.
    fn after(before: Option<Self>, passed: bool, policy: &CheckPolicy) -> Self {
        let Some(Self { healthy, contrary }) = before.filter(|before| before.healthy != passed) else {
            return Self { healthy: passed, contrary: 0 };
        };
        let needed = if healthy { policy.fall } else { policy.rise };
        if contrary + 1 >= needed {
            Self { healthy: passed, contrary: 0 }
        } else {
            Self { healthy, contrary: contrary + 1 }
        }
    }
}

/// Checks the current nodes of `balancer` with `probe` until `stop`.
pub async fn run<F, E>(
    balancer: Arc<Balancer>,
    policy: CheckPolicy,
    probe: impl Fn(Arc<Node>) -> F,
    stop: CancellationToken,
) where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut health: HashMap<String, Health> = HashMap::new();
    let mut ticks = Ticks::every(policy.interval);
    // Dropping the set aborts the checks in progress.
    let mut checks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = ticks.next() => {
                let nodes = balancer.nodes();
                health.retain(|id, _| nodes.iter().any(|node| node.spec().id == *id));
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
                Ok((node, failure)) => record(&balancer, &mut health, &policy, &node, failure),
                Err(error) => tracing::error!(%error, "health check task failed"),
            },
        }
    }
}

fn record(
    balancer: &Balancer,
    health: &mut HashMap<String, Health>,
    policy: &CheckPolicy,
    node: &Node,
    failure: Option<String>,
) {
    let id = &node.spec().id;
    let before = health.get(id).copied();
    let current = Health::after(before, failure.is_none(), policy);
    health.insert(id.clone(), current);
    balancer.set_healthy(id, current.healthy, Instant::now());
    match (before.is_none_or(|before| before.healthy), current.healthy) {
        (true, false) => {
            let reason = failure.unwrap_or_default();
            tracing::warn!(node = id, url = node.spec().url, reason, "node is unhealthy");
        }
        (false, true) => tracing::info!(node = id, url = node.spec().url, "node is healthy again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
