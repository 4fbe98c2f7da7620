//! This instance's place in the fleet: it says of itself once a second that it is there and how busy it is, so that
//! every instance can answer for all of them.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    balancer::Node,
    clock::Timestamp,
    shared_store::{InstanceRecord, InstanceRegistry},
    store_error::StoreError,
};

/// How often an instance says that it is there.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// An instance that was silent for this long is gone: three heartbeats, and one's delay.
pub const GONE_AFTER: Duration = Duration::from_millis(3500);

/// The fleet as this instance sees it.
#[derive(Debug, Clone)]
pub struct Fleet {
    registry: Arc<dyn InstanceRegistry>,
    own: Arc<Node>,
    draining: CancellationToken,
}

/// An instance and when it last said that it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// What it said.
    pub record: InstanceRecord,
    /// When.
    pub seen_at: Timestamp,
}

impl Fleet {
    /// `own` is the node that this instance's requests are counted on; `draining` is cancelled when it is about to leave.
    pub fn new(registry: Arc<dyn InstanceRegistry>, own: Arc<Node>, draining: CancellationToken) -> Self {
        Self { registry, own, draining }
    }

    /// The node that this instance's requests are counted on.
    pub fn own(&self) -> &Arc<Node> {
        &self.own
    }

    /// What this instance says of itself.
    fn record(&self) -> InstanceRecord {
        let (spec, stats) = (self.own.spec(), self.own.stats());
        InstanceRecord {
            id: spec.id.clone(),
            url: spec.url.clone(),
            weight: spec.weight,
            region: spec.region.clone(),
            zone: spec.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: self.draining.is_cancelled(),
            current_connections: stats.in_flight,
            max_connections: u64::from(spec.max_connections),
            average_response_time: stats.average_response_time.as_secs_f64(),
        }
    }

    /// Sends heartbeats, one at once when it begins to drain, until stopped; then leaves the registry.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut failing, mut said_draining) = (false, false);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.draining.cancelled(), if !said_draining => said_draining = true,
                _ = ticks.tick() => {}
            }
            match self.registry.heartbeat(&self.record(), Timestamp::now()).await {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the fleet does not hear of this instance"
                    );
                }
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the fleet hears of this instance again");
                }
                _ => {}
            }
        }
        if let Err(error) = self.registry.leave(&self.own.spec().id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "this instance could not leave the fleet's registry"
            );
        }
    }

    /// The instances that are there, this one as it is now; by id.
    pub async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let now = Timestamp::now();
        let since = Timestamp::from_millis(now.millis() - GONE_AFTER.as_millis() as i64);
        let mut members = self.registry.instances(since).await?;
        let own = self.record();
        members.insert(own.id.clone(), (own, now));
        Ok(members.into_values().map(|(record, seen_at)| Member { record, seen_at }).collect())
    }
}
