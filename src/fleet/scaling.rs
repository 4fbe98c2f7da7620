//! The leader decides how many instances there should be, and how large; everyone can read what it decided.
//!
//! What is decided and remembered is in notes of the shared store, written under the leader's fence: whoever was the leader
//! once can't overwrite what its successor has decided, and the successor goes on where it ended, cooldowns included.
//! Nothing is decided on what was last known: while the registry does not answer, the number stays.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use symbolon_scaler::{Decision, Policy, State, vertical::Usage};
use tokio_util::sync::CancellationToken;

use super::{FleetView, FleetWatch, Leader};
use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError, ticks::Ticks};

/// How often is decided.
pub const DECISION_INTERVAL: Duration = Duration::from_secs(5);
/// A decision older than this is none: whoever decides has gone.
pub const DECISION_TTL: Duration = Duration::from_secs(30);
/// For how long an instance that was asked for counts as starting.
const STARTING: Duration = Duration::from_secs(180);
/// How often use is counted for the sizes of instances.
const USAGE_INTERVAL: Duration = Duration::from_secs(60);
/// How many decisions are kept: those that differ from the one before.
const KEPT: usize = 50;

const SCALING: &str = "scaling";
const DECISIONS: &str = "scaling_decisions";
const USAGE: &str = "usage";

/// A decision, by whom and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ScalingDecision)]
pub struct ScalingDecision {
    /// When.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub at: Timestamp,
    /// By which instance.
    #[schema(example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub by: String,
    /// What.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What is remembered from one decision to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    state: State,
    last: Option<ScalingDecision>,
}

/// Decides while its instance leads, and reads what was decided; clones share nothing but the store.
#[derive(Debug, Clone)]
pub struct Scaling {
    store: Arc<dyn SharedStore>,
    watch: FleetWatch,
    leader: Leader,
    instance_id: String,
    policy: Policy,
}

impl Scaling {
    /// Decides by `policy` whenever `leader` says that this instance leads.
    pub fn new(
        store: Arc<dyn SharedStore>,
        watch: FleetWatch,
        leader: Leader,
        instance_id: String,
        policy: Policy,
    ) -> Self {
        Self { store, watch, leader, instance_id, policy }
    }

    /// By what is decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The last decision, if there was one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn last(&self) -> Result<Option<ScalingDecision>, StoreError> {
        last(self.store.as_ref()).await
    }

    /// The decisions of late that differ from the one before, newest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn decisions(&self) -> Result<Vec<ScalingDecision>, StoreError> {
        read(self.store.as_ref(), DECISIONS).await
    }

    /// What instances used so far.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        read(self.store.as_ref(), USAGE).await
    }

    /// Decides while this instance leads, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        // Until it is in the registry itself, this instance does not see the whole fleet.
        let mut views = self.watch.subscribe();
        let registered =
            async { views.wait_for(|view| view.instances.contains_key(&self.instance_id)).await.map(drop) };
        let Some(Ok(())) = stop.run_until_cancelled(registered).await else { return };
        let mut ticks = Ticks::every(DECISION_INTERVAL);
        let (mut led, mut counted): (Option<u64>, Option<Instant>) = (None, None);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ticks.next() => {}
                // A new leader decides at once.
                fence = self.leader.begins(led) => {
                    led = Some(fence);
                    ticks.reset();
                }
            }
            let now = Instant::now();
            let Some(fence) = self.leader.fence_now(now) else { continue };
            let counts = counted.is_none_or(|at| now - at >= USAGE_INTERVAL);
            match self.decide(fence, counts).await {
                Ok(()) => {
                    failing = false;
                    if counts {
                        counted = Some(now);
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "how many instances there should be was not decided"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Decides once, and counts use if it `counts`.
    async fn decide(&self, fence: u64, counts: bool) -> Result<(), StoreError> {
        let mut ledger: Ledger = read(self.store.as_ref(), SCALING).await?;
        let (view, now) = (self.watch.refresh().await?, Timestamp::now());
        let decided_at = symbolon_scaler::Timestamp::from(now);
        // What was asked for long ago and is not there is not about to come.
        let is_new = |at: symbolon_scaler::Timestamp| decided_at.since(at) <= STARTING;
        let asked_for = ledger.last.as_ref().filter(|_| ledger.state.last_action_at.is_some_and(is_new));
        let asked_for = asked_for.map_or(0, |last| last.decision.to);
        let decision = self.policy.decide(&mut ledger.state, &view.observation(asked_for), decided_at);
        let is_news = ledger.last.as_ref().is_none_or(|last| {
            let last = &last.decision;
            (last.outcome, last.to, &last.rule) != (decision.outcome, decision.to, &decision.rule)
        });
        let decided = ScalingDecision { at: now, by: self.instance_id.clone(), decision };
        ledger.last = Some(decided.clone());
        if !self.write(SCALING, &ledger, fence).await? {
            return Ok(());
        }
        if is_news {
            self.tell(decided, fence).await?;
        }
        if counts {
            self.count(&view, fence, now).await?;
        }
        Ok(())
    }

    async fn tell(&self, decided: ScalingDecision, fence: u64) -> Result<(), StoreError> {
        let Decision { outcome, from, to, reasons, .. } = &decided.decision;
        tracing::info!(%outcome, from, to, reasons = reasons.join(" "), "how many instances there should be");
        let mut decisions = self.decisions().await?;
        decisions.insert(0, decided);
        decisions.truncate(KEPT);
        self.write(DECISIONS, &decisions, fence).await.map(drop)
    }

    async fn count(&self, view: &FleetView, fence: u64, now: Timestamp) -> Result<(), StoreError> {
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

/// The last decision that a store knows of.
///
/// # Errors
/// If the store does not answer.
pub async fn last(store: &dyn SharedStore) -> Result<Option<ScalingDecision>, StoreError> {
    read::<Ledger>(store, SCALING).await.map(|ledger| ledger.last)
}

/// What a note says; nothing if another version wrote it that says things otherwise.
async fn read<T: DeserializeOwned + Default>(store: &dyn SharedStore, name: &str) -> Result<T, StoreError> {
    let text = store.note(name).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}
