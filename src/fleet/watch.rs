//! Keeps the last known fleet, so that whoever depends on it (operators, gateways) has one while the shared store does not
//! answer. The view is replaced whole.

use std::sync::Arc;

use futures_util::future::try_join4;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{FleetView, HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT, Member, instance_of, leader};
use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError, ticks::Ticks};

/// The note of whether tuning is switched on: `true` or `false`.
pub const TUNING: &str = "tuning";

/// Looks at the fleet; clones share what they saw.
#[derive(Debug, Clone)]
pub struct FleetWatch {
    store: Arc<dyn SharedStore>,
    last: watch::Sender<Arc<FleetView>>,
}

impl FleetWatch {
    /// Nothing is known yet.
    pub fn new(store: Arc<dyn SharedStore>) -> Self {
        Self { store, last: watch::Sender::default() }
    }

    /// What was last known.
    pub fn last(&self) -> Arc<FleetView> {
        Arc::clone(&self.last.borrow())
    }

    /// Every view from now on, and the last one; it changes at least with each heartbeat's interval.
    pub fn subscribe(&self) -> watch::Receiver<Arc<FleetView>> {
        self.last.subscribe()
    }

    /// Asks the store.
    ///
    /// # Errors
    /// If the store does not answer, or not in full; then what was last known stays.
    pub async fn refresh(&self) -> Result<Arc<FleetView>, StoreError> {
        let (instances, balancing, tuning, held) = try_join4(
            self.store.instances(HEARTBEAT_TIMEOUT),
            self.store.balancing(),
            self.store.note(TUNING),
            self.store.holder(leader::LOCK),
        )
        .await?;
        let member = |(id, (record, seen_at))| (id, Member { record, seen_at });
        let view = Arc::new(FleetView {
            instances: instances.into_iter().map(member).collect(),
            balancing,
            tuning: tuning.and_then(|text| text.parse().ok()),
            leader: held.map(|(holder, _fence)| instance_of(&holder).to_owned()),
            as_of: Some(Timestamp::now()),
        });
        self.last.send_replace(Arc::clone(&view));
        Ok(view)
    }

    /// Looks as often as instances say that they are there, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(HEARTBEAT_INTERVAL);
        let mut failing = false;
        while ticks.next_until(&stop).await {
            let Some(seen) = stop.run_until_cancelled(self.refresh()).await else { break };
            match seen {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the fleet can't be told: what was last known of it stays"
                    );
                }
                Ok(_) if failing => {
                    failing = false;
                    tracing::info!("the fleet can be told again");
                }
                _ => {}
            }
        }
    }
}
