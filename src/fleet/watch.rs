//! The last known view of the fleet. Operators and gateways can use it while the shared store does not answer.

use std::sync::Arc;

use futures_util::future::try_join4;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{FleetView, HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT, Member, instance_of, leader};
use crate::{clock::Timestamp, shared_store::SharedStore, store_error::StoreError, ticks::Ticks};

/// Name of the note that switches tuning on (`true`) or off (`false`).
pub const TUNING: &str = "tuning";

/// Reads the fleet from the shared store and keeps the last view. Clones share it.
#[derive(Debug, Clone)]
pub struct FleetWatch {
    store: Arc<dyn SharedStore>,
    last: watch::Sender<Arc<FleetView>>,
}

impl FleetWatch {
    /// Starts with an empty view.
    pub fn new(store: Arc<dyn SharedStore>) -> Self {
        Self { store, last: watch::Sender::default() }
    }

    /// Returns the last known view.
    pub fn last(&self) -> Arc<FleetView> {
        Arc::clone(&self.last.borrow())
    }

    /// Returns a receiver of the last known view and every later one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<FleetView>> {
        self.last.subscribe()
    }

    /// Reads the fleet from the store.
    ///
    /// # Errors
    /// If one of the reads fails; then the last known view stays.
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

    /// Refreshes the view at the interval of heartbeats, until stopped.
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
                        "fleet registry unavailable; serving cached view"
                    );
                }
                Ok(_) if failing => {
                    failing = false;
                    tracing::info!("fleet registry available again");
                }
                _ => {}
            }
        }
    }
}
