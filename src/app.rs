//! The handle of a running instance: gives request handlers access to its components.

mod metrics;
mod readiness;

use std::sync::Arc;

use symbolon_batcher::BatchStats;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use readiness::Dependencies;
pub use readiness::{Dependency, Readiness};

use crate::{
    admission::Admission,
    config::{OperatorTokens, Settings},
    fleet::{Fleet, Leader, Scaling},
    load::LoadMeter,
    metrics::RequestMetrics,
    monitor::Monitor,
    passwords::Passwords,
    sessions::Sessions,
    shards::{Shards, catalog::Catalog},
    shared_store::{BalancerControl, NoteStore, SharedStore},
    throttle::GuessLimiter,
    tuner::Tuner,
    users::Users,
    web::Connections,
};

/// The state of an instance. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Components>);

pub(crate) struct Components {
    pub(crate) settings: Settings,
    pub(crate) operator_tokens: OperatorTokens,
    pub(crate) guesses: GuessLimiter,
    pub(crate) shards: Shards,
    pub(crate) catalog: Option<Arc<Catalog>>,
    pub(crate) shared: Arc<dyn SharedStore>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) sessions: Sessions,
    pub(crate) users: Users,
    pub(crate) fleet: Fleet,
    pub(crate) leader: Leader,
    pub(crate) scaling: Scaling,
    pub(crate) load: LoadMeter,
    pub(crate) requests: RequestMetrics,
    pub(crate) monitor: Monitor,
    pub(crate) tuner: Tuner,
    pub(crate) admission: Admission,
    pub(crate) connections: Connections,
    pub(crate) dependencies: Dependencies,
    pub(crate) draining: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl App {
    pub(crate) fn new(components: Components) -> Self {
        Self(Arc::new(components))
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub fn operator_tokens(&self) -> &OperatorTokens {
        &self.0.operator_tokens
    }

    /// Returns the counter of guesses at operator tokens.
    pub fn guesses(&self) -> &GuessLimiter {
        &self.0.guesses
    }

    pub fn shards(&self) -> &Shards {
        &self.0.shards
    }

    pub fn passwords(&self) -> &Arc<Passwords> {
        &self.0.passwords
    }

    /// Returns how session reads were batched, if the shared store batches them.
    pub fn session_batching(&self) -> Option<BatchStats> {
        self.0.shared.batching()
    }

    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub fn users(&self) -> &Users {
        &self.0.users
    }

    pub fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    pub fn leader(&self) -> &Leader {
        &self.0.leader
    }

    pub fn scaling(&self) -> &Scaling {
        &self.0.scaling
    }

    pub fn load(&self) -> &LoadMeter {
        &self.0.load
    }

    /// Returns the store of what operators tell the fleet's balancers.
    pub fn balancer_control(&self) -> &dyn BalancerControl {
        &*self.0.shared
    }

    pub fn requests(&self) -> &RequestMetrics {
        &self.0.requests
    }

    pub fn monitor(&self) -> &Monitor {
        &self.0.monitor
    }

    pub fn tuner(&self) -> &Tuner {
        &self.0.tuner
    }

    /// Returns the store of fleet-wide values that outlive instances, such as the tuner switch.
    pub fn notes(&self) -> &dyn NoteStore {
        &*self.0.shared
    }

    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Returns the connections with clients.
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Returns what instances share besides the shards.
    pub(crate) fn shared(&self) -> &Arc<dyn SharedStore> {
        &self.0.shared
    }

    /// Returns the fleet's catalog. Embedded storage has none.
    pub(crate) fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.0.catalog.as_ref()
    }

    /// Returns the token that is cancelled when the instance begins to drain.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Returns whether the instance is about to stop. It still serves requests.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Returns the tracker of work that must finish before the instance stops.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }
}
