//! Applies the leader's scaling decisions to the spawned instances. A number chosen by an operator stays until the leader
//! decides to change it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Spawner;
use crate::{
    clock::Timestamp,
    fleet::{DECISION_TTL, ScalingDecision, last_decision},
    shared_store::SharedStore,
    ticks::Ticks,
};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(in crate::gateway) async fn follow(spawner: Spawner, store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut ticks = Ticks::every(POLL_INTERVAL);
    let mut failing = false;
    while ticks.next_until(&stop).await {
        match last_decision(store.as_ref()).await {
            Ok(last) => {
                failing = false;
                let current = last.filter(|last| Timestamp::now().since(last.at) <= DECISION_TTL);
                let Some(ScalingDecision { decision, at, .. }) = current else { continue };
                if let Some(count) = spawner.apply_decision(decision.to, decision.to != decision.from, at) {
                    tracing::info!(decided = decision.to, count, "number of instances changed");
                }
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not read the scaling decision; the number of instances stays"
                );
            }
            Err(_) => {}
        }
    }
}
