//! Membership of the fleet. Every instance writes a heartbeat with its load to the shared store once a second, so every
//! instance knows the whole fleet. [`leader`] elects the instance that decides for all.

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

/// Interval of heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Age of the last heartbeat from which an instance counts as gone: three heartbeats, and half a second of delay.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(3500);

/// Sends the heartbeats of this instance, and reads the fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    registry: Arc<dyn SharedStore>,
    watch: FleetWatch,
    process: ProcessId,
    own: Arc<Node>,
    load: Receiver<Option<Load>>,
    draining: CancellationToken,
}

/// The fleet as one instance knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetSnapshot {
    /// The fleet, with the current state of this instance.
    pub view: FleetView,
    /// Whether the registry did not answer, so that the other instances are as last known.
    pub stale: bool,
}

impl FleetSnapshot {
    /// Returns the demand of the fleet, in instances at target utilization.
    ///
    /// # Errors
    /// [`DemandUnknown`] if the view is stale or incomplete.
    pub fn demand(&self) -> Result<f64, DemandUnknown> {
        if self.stale { Err(DemandUnknown::Stale) } else { self.view.demand() }
    }
}

impl Fleet {
    /// `own` counts the requests of this process, `load` is the load that heartbeats report, and `draining` is cancelled
    /// when this instance begins to drain.
    pub fn new(
        registry: Arc<dyn SharedStore>,
        process: ProcessId,
        own: Arc<Node>,
        load: Receiver<Option<Load>>,
        draining: CancellationToken,
    ) -> Self {
        Self { watch: FleetWatch::new(registry.clone()), registry, process, own, load, draining }
    }

    pub fn watch(&self) -> &FleetWatch {
        &self.watch
    }

    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// Returns the node that counts the requests of this instance.
    pub fn own(&self) -> &Arc<Node> {
        &self.own
    }

    /// Returns the heartbeat record of this instance.
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

    /// Sends heartbeats until stopped, with an extra one when draining begins; then leaves the registry.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = Ticks::every(HEARTBEAT_INTERVAL);
        let (mut failing, mut draining_sent) = (false, false);
        let mut duplicates = DuplicateDetector::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.draining.cancelled(), if !draining_sent => draining_sent = true,
                () = ticks.next() => {}
            }
            match self.registry.heartbeat(&self.record()).await {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "heartbeat failed; peers may consider this instance dead"
                    );
                }
                Ok(before) => {
                    duplicates.check(&self.process, before.as_ref());
                    if failing {
                        failing = false;
                        tracing::info!("heartbeat restored");
                    }
                }
                Err(_) => {}
            }
        }
        if let Err(error) = self.registry.leave(&self.own.spec().id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not leave the fleet registry; the entry expires by itself"
            );
        }
    }

    /// Reads the fleet from the registry.
    ///
    /// # Errors
    /// If the registry does not answer, or contains a record that can't be parsed.
    pub async fn now(&self) -> Result<FleetView, StoreError> {
        self.watch.refresh().await.map(|view| self.with_own(&view))
    }

    /// Reads the fleet from the registry, or returns the last known one if the registry does not answer.
    ///
    /// # Errors
    /// If the registry contains a record that can't be parsed.
    pub async fn refresh(&self) -> Result<FleetSnapshot, StoreError> {
        match self.now().await {
            Ok(view) => Ok(FleetSnapshot { view, stale: false }),
            // A leader can't renew its lease without the store, so the last known one may not lead any more.
            Err(StoreError::Unavailable { .. }) => {
                Ok(FleetSnapshot { view: FleetView { leader: None, ..self.with_own(&self.watch.last()) }, stale: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the record of this instance, which may be older or missing in the registry.
    fn with_own(&self, view: &FleetView) -> FleetView {
        let (mut view, own) = (view.clone(), self.record());
        view.instances.insert(own.id.clone(), Member { record: own, seen_at: Timestamp::now() });
        view
    }
}

/// Detects another process with the same instance id.
#[derive(Debug, Default)]
struct DuplicateDetector {
    /// Whether this process has sent a heartbeat.
    has_sent: bool,
    reported: bool,
}

impl DuplicateDetector {
    /// Logs an error, once, if the record `before` this heartbeat is from another process. A record from before the first
    /// heartbeat is from the process that this one replaces.
    fn check(&mut self, process: &ProcessId, before: Option<&InstanceRecord>) {
        let other = before.filter(|record| record.process_id.is_some_and(|id| id != process.nonce()));
        if let Some(record) = other.filter(|_| self.has_sent && !self.reported) {
            self.reported = true;
            tracing::error!(
                instance_id = record.id,
                url = record.url,
                "instance_id: another process has the same one, so the fleet sees only one of them; give each its own"
            );
        }
        self.has_sent = true;
    }
}
