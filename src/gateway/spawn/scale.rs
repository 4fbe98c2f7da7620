//! Has as many instances run as the fleet's leader decides. A number that an operator chose stays until the leader decides to
//! change it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Spawner;
use crate::{
    clock::Timestamp,
    fleet::{DECISION_TTL, ScalingDecision, last_decision},
    shared_store::SharedStore,
    ticks::Ticks,
};

const EVERY: Duration = Duration::from_secs(1);

/// Follows decisions until stopped.
pub(in crate::gateway) async fn follow(spawner: Spawner, store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut ticks = Ticks::every(EVERY);
    let mut failing = false;
    while ticks.next_until(&stop).await {
        match last_decision(store.as_ref()).await {
            Ok(last) => {
                failing = false;
                let standing = last.filter(|last| Timestamp::now().since(last.at) <= DECISION_TTL);
                let Some(ScalingDecision { decision, at, .. }) = standing else { continue };
                if let Some(count) = spawner.follow(decision.to, decision.to != decision.from, at) {
                    tracing::info!(wanted = decision.to, count, "the number of instances was decided");
                }
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what was decided can't be read: the number of instances stays"
                );
            }
            Err(_) => {}
        }
    }
}
