//! This instance's place in the fleet: it says of itself once a second that it is there and how busy it is, so that
//! every instance can answer for all of them. [`leader`] chooses the one that decides for all.

pub mod leader;
mod observation;
mod process;
mod scaling;
pub mod time;
mod view;
mod watch;

use std::{sync::Arc, time::Duration};

use symbolon_balancer::Node;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

pub use self::{
    leader::Leader,
    observation::DemandUnknown,
    process::{ProcessId, instance_of},
    scaling::{DECISION_INTERVAL, DECISION_TTL, Scaling, ScalingDecision, last as last_decision},
    view::{FleetNode, FleetView, Member},
    watch::{FleetWatch, TUNING},
};
use crate::{
    clock::Timestamp,
    model::Load,
    shared_store::{InstanceRecord, SharedStore},
    store_error::StoreError,
    ticks::Ticks,
};

/// How often an instance says that it is there.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// An instance that was silent for this long is gone: three heartbeats, and one's delay.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(3500);

/// The fleet as this instance sees it.
#[derive(Debug, Clone)]
pub struct Fleet {
    registry: Arc<dyn SharedStore>,
    watch: FleetWatch,
    process: ProcessId,
    own: Arc<Node>,
    load: Receiver<Option<Load>>,
    draining: CancellationToken,
}

/// What an instance can tell of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetSnapshot {
    /// The fleet, this instance in it as it is now.
    pub view: FleetView,
    /// Whether the registry did not answer, so that the rest is what was last known.
    pub stale: bool,
}

impl FleetSnapshot {
    /// The fleet's demand, in instances that are as busy as they are meant to be.
    ///
    /// # Errors
    /// [`DemandUnknown`] if it can't be said.
    pub fn demand(&self) -> Result<f64, DemandUnknown> {
        if self.stale { Err(DemandUnknown::Stale) } else { self.view.demand() }
    }
}

impl Fleet {
    /// `own` is the node that the requests of `process` are counted on, `load` what else it says of itself; `draining` is
    /// cancelled when it is about to leave.
    pub fn new(
        registry: Arc<dyn SharedStore>,
        process: ProcessId,
        own: Arc<Node>,
        load: Receiver<Option<Load>>,
        draining: CancellationToken,
    ) -> Self {
        Self { watch: FleetWatch::new(registry.clone()), registry, process, own, load, draining }
    }

    /// What keeps the last known fleet.
    pub fn watch(&self) -> &FleetWatch {
        &self.watch
    }

    /// Which process this is.
    pub fn process(&self) -> &ProcessId {
        &self.process
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
            load: self.load.borrow().clone(),
            process_id: Some(self.process.nonce()),
        }
    }

    /// Sends heartbeats, one at once when it begins to drain, until stopped; then leaves the registry.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(HEARTBEAT_INTERVAL);
        let (mut failing, mut said_draining) = (false, false);
        let mut twins = Twins::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.draining.cancelled(), if !said_draining => said_draining = true,
                () = ticks.next() => {}
            }
            match self.registry.heartbeat(&self.record()).await {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the fleet does not hear of this instance"
                    );
                }
                Ok(before) => {
                    twins.look(&self.process, before.as_ref());
                    if failing {
                        failing = false;
                        tracing::info!("the fleet hears of this instance again");
                    }
                }
                Err(_) => {}
            }
        }
        if let Err(error) = self.registry.leave(&self.own.spec().id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "this instance could not leave the fleet's registry"
            );
        }
    }

    /// The fleet as it is now.
    ///
    /// # Errors
    /// If the registry does not answer, or holds what can't be read.
    pub async fn now(&self) -> Result<FleetView, StoreError> {
        self.watch.refresh().await.map(|view| self.with_own(&view))
    }

    /// The fleet as it is now, or as it was last known while the registry does not answer.
    ///
    /// # Errors
    /// Only for what is in the registry and can't be read.
    pub async fn refresh(&self) -> Result<FleetSnapshot, StoreError> {
        match self.now().await {
            Ok(view) => Ok(FleetSnapshot { view, stale: false }),
            // Nobody leads for long without the store, and who does can't be told.
            Err(StoreError::Unavailable { .. }) => {
                Ok(FleetSnapshot { view: FleetView { leader: None, ..self.with_own(&self.watch.last()) }, stale: true })
            }
            Err(error) => Err(error),
        }
    }

    /// This instance is there for certain, and known better here than by the registry.
    fn with_own(&self, view: &FleetView) -> FleetView {
        let (mut view, own) = (view.clone(), self.record());
        view.instances.insert(own.id.clone(), Member { record: own, seen_at: Timestamp::now() });
        view
    }
}

/// Finds out whether another process says that it is this instance.
#[derive(Debug, Default)]
struct Twins {
    spoke: bool,
    reported: bool,
}

impl Twins {
    /// Says so in the log if another process spoke since `process` did. A record from before it began is of the process that
    /// it replaces.
    fn look(&mut self, process: &ProcessId, before: Option<&InstanceRecord>) {
        let other = before.filter(|record| record.process_id.is_some_and(|id| id != process.nonce()));
        if let Some(record) = other.filter(|_| self.spoke && !self.reported) {
            self.reported = true;
            tracing::error!(
                instance_id = record.id,
                url = record.url,
                "instance_id: another process has the same one, so the fleet sees only one of them; give each its own"
            );
        }
        self.spoke = true;
    }
}
