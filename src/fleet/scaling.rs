//! Scaling decisions. The leader decides the number and size of instances; every instance can read its decisions.
//!
//! Decisions and the policy's state are notes in the shared store, written under the leader's fencing token. A former leader
//! can't overwrite the decisions of its successor, and the successor continues from the same state, with its cooldowns.
//! The leader decides only on current data: while the registry does not answer, the number of instances stays.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use symbolon_scaler::{Decision, Policy, State, vertical::Usage};
use tokio_util::sync::CancellationToken;

use super::{FleetView, FleetWatch, Leader};
use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError, ticks::Ticks};

/// Interval of decisions.
pub const DECISION_INTERVAL: Duration = Duration::from_secs(5);
/// Age at which a decision expires, because no leader has renewed it.
pub const DECISION_TTL: Duration = Duration::from_secs(30);
/// Time after a scaling change during which missing instances count as starting.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(180);
/// Interval of the resource usage samples for vertical scaling.
const USAGE_INTERVAL: Duration = Duration::from_secs(60);
/// Number of past decisions kept. Only those that differ from the one before count.
const HISTORY_LENGTH: usize = 50;

const SCALING: &str = "scaling";
const DECISIONS: &str = "scaling_decisions";
const USAGE: &str = "usage";

/// A scaling decision of the leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ScalingDecision)]
pub struct ScalingDecision {
    /// Time of the decision.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub at: Timestamp,
    /// Id of the instance that decided.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub by: String,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
}

/// State kept from one decision to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    state: State,
    last: Option<ScalingDecision>,
}

/// Makes scaling decisions while this instance leads, and reads past ones. The state is in the store.
#[derive(Debug, Clone)]
pub struct Scaling {
    store: Arc<dyn SharedStore>,
    watch: FleetWatch,
    leader: Leader,
    instance_id: String,
    policy: Policy,
}

impl Scaling {
    pub fn new(
        store: Arc<dyn SharedStore>,
        watch: FleetWatch,
        leader: Leader,
        instance_id: String,
        policy: Policy,
    ) -> Self {
        Self { store, watch, leader, instance_id, policy }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the last decision.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn last(&self) -> Result<Option<ScalingDecision>, StoreError> {
        last(self.store.as_ref()).await
    }

    /// Returns the last decisions that differ from the one before, newest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn decisions(&self) -> Result<Vec<ScalingDecision>, StoreError> {
        read(self.store.as_ref(), DECISIONS).await
    }

    /// Returns the resource usage of instances so far.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        read(self.store.as_ref(), USAGE).await
    }

    /// Decides while this instance leads, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        // Before this instance is registered, its view of the fleet is incomplete.
        let mut views = self.watch.subscribe();
        let registered =
            async { views.wait_for(|view| view.instances.contains_key(&self.instance_id)).await.map(drop) };
        let Some(Ok(())) = stop.run_until_cancelled(registered).await else { return };
        let mut ticks = Ticks::every(DECISION_INTERVAL);
        let (mut last_fence, mut sampled_at): (Option<u64>, Option<Instant>) = (None, None);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ticks.next() => {}
                // A new leader decides at once.
                fence = self.leader.wait_for_leadership(last_fence) => {
                    last_fence = Some(fence);
                    ticks.reset();
                }
            }
            let now = Instant::now();
            let Some(fence) = self.leader.fence_now(now) else { continue };
            let sample_usage = sampled_at.is_none_or(|at| now - at >= USAGE_INTERVAL);
            match self.decide(fence, sample_usage).await {
                Ok(()) => {
                    failing = false;
                    if sample_usage {
                        sampled_at = Some(now);
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "scaling decision failed; the number of instances stays"
                    );
                }
                Err(_) => {}
            }
        }
    }

    async fn decide(&self, fence: u64, sample_usage: bool) -> Result<(), StoreError> {
        let mut ledger: Ledger = read(self.store.as_ref(), SCALING).await?;
        let (view, now) = (self.watch.refresh().await?, Timestamp::now());
        let decided_at = symbolon_scaler::Timestamp::from(now);
        // An instance requested longer ago than this is not expected any more.
        let is_recent = |at: symbolon_scaler::Timestamp| decided_at.since(at) <= STARTUP_TIMEOUT;
        let requested = ledger.last.as_ref().filter(|_| ledger.state.last_action_at.is_some_and(is_recent));
        let requested = requested.map_or(0, |last| last.decision.to);
        let decision = self.policy.decide(&mut ledger.state, &view.observation(requested), decided_at);
        let differs = ledger.last.as_ref().is_none_or(|last| {
            let last = &last.decision;
            (last.outcome, last.to, &last.rule) != (decision.outcome, decision.to, &decision.rule)
        });
        let decided = ScalingDecision { at: now, by: self.instance_id.clone(), decision };
        ledger.last = Some(decided.clone());
        if !self.write(SCALING, &ledger, fence).await? {
            return Ok(());
        }
        if differs {
            self.publish(decided, fence).await?;
        }
        if sample_usage {
            self.sample_usage(&view, fence, now).await?;
        }
        Ok(())
    }

    async fn publish(&self, decided: ScalingDecision, fence: u64) -> Result<(), StoreError> {
        let Decision { outcome, from, to, reasons, .. } = &decided.decision;
        tracing::info!(%outcome, from, to, reasons = reasons.join(" "), "scaling decision");
        let mut decisions = self.decisions().await?;
        decisions.insert(0, decided);
        decisions.truncate(HISTORY_LENGTH);
        self.write(DECISIONS, &decisions, fence).await.map(drop)
    }

    async fn sample_usage(&self, view: &FleetView, fence: u64, now: Timestamp) -> Result<(), StoreError> {
        let mut usage = self.usage().await?;
        for load in view.instances.values().filter_map(|member| member.record.load.as_ref()) {
            usage.add(Some(load.used_cores), load.memory_bytes.map(|bytes| bytes as f64), now.into());
        }
        self.write(USAGE, &usage, fence).await.map(drop)
    }

    async fn write(&self, name: &str, value: &impl Serialize, fence: u64) -> Result<bool, StoreError> {
        let corrupt = |source: serde_json::Error| StoreError::Corrupt {
            store: "shared".to_owned(),
            what: "scaling",
            source: source.into(),
        };
        self.store.write_note(name, &serde_json::to_string(value).map_err(corrupt)?, fence).await
    }
}

/// Returns the last decision in a store.
///
/// # Errors
/// If the store does not answer.
pub async fn last(store: &dyn SharedStore) -> Result<Option<ScalingDecision>, StoreError> {
    read::<Ledger>(store, SCALING).await.map(|ledger| ledger.last)
}

/// Reads a note. Returns the default value if it is missing or another version wrote it in another format.
async fn read<T: DeserializeOwned + Default>(store: &dyn SharedStore, name: &str) -> Result<T, StoreError> {
    let text = store.note(name).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}
