//! Has as many instances run as the fleet's leader decides. A number that an operator chose meanwhile stays until the leader
//! decides on another one.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Spawner;
use crate::{
    clock::Timestamp,
    fleet::{STANDS, last_decision},
    shared_store::SharedStore,
};

const EVERY: Duration = Duration::from_secs(1);

/// Follows decisions until stopped.
pub(in crate::gateway) async fn follow(spawner: Spawner, store: Arc<dyn SharedStore>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A first decision that leaves it at what the gateway began with is none to follow: an operator may have chosen since.
    let (mut followed, mut failing) = (spawner.least(), false);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match last_decision(store.as_ref()).await {
            Ok(last) => {
                failing = false;
                let standing = last.filter(|last| Timestamp::now().since(last.at) <= STANDS);
                let Some(wanted) = standing.map(|last| last.decision.to) else { continue };
                if followed != wanted {
                    followed = wanted;
                    let count = spawner.set_count(wanted);
                    tracing::info!(wanted, count, "the number of instances was decided");
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
