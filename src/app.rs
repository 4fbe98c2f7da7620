//! The running service: everything that requests need, in one handle.

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

/// The service's state; clones share it.
#[derive(Clone)]
pub struct App(Arc<Components>);

/// Everything that an instance is made of.
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
    /// The handle of these.
    pub(crate) fn new(components: Components) -> Self {
        Self(Arc::new(components))
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The tokens that open the operator endpoints.
    pub fn operator_tokens(&self) -> &OperatorTokens {
        &self.0.operator_tokens
    }

    /// What counts guesses at those tokens.
    pub fn guesses(&self) -> &GuessLimiter {
        &self.0.guesses
    }

    /// The shards in force.
    pub fn shards(&self) -> &Shards {
        &self.0.shards
    }

    /// What hashes passwords.
    pub fn passwords(&self) -> &Arc<Passwords> {
        &self.0.passwords
    }

    /// How reads of sessions were joined into batches, if they are.
    pub fn session_batching(&self) -> Option<BatchStats> {
        self.0.shared.batching()
    }

    /// What makes, checks and ends sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// What can be done with users.
    pub fn users(&self) -> &Users {
        &self.0.users
    }

    /// The fleet as this instance sees it.
    pub fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    /// Whether this instance leads the fleet.
    pub fn leader(&self) -> &Leader {
        &self.0.leader
    }

    /// How many instances there should be, and who says so.
    pub fn scaling(&self) -> &Scaling {
        &self.0.scaling
    }

    /// What counts what this instance is offered.
    pub fn load(&self) -> &LoadMeter {
        &self.0.load
    }

    /// What operators tell the fleet's balancers.
    pub fn balancer_control(&self) -> &dyn BalancerControl {
        &*self.0.shared
    }

    /// What counts this instance's requests.
    pub fn requests(&self) -> &RequestMetrics {
        &self.0.requests
    }

    /// The machine's resources.
    pub fn monitor(&self) -> &Monitor {
        &self.0.monitor
    }

    /// What turns this instance's knobs.
    pub fn tuner(&self) -> &Tuner {
        &self.0.tuner
    }

    /// What the fleet remembers.
    pub fn notes(&self) -> &dyn NoteStore {
        &*self.0.shared
    }

    /// How much this instance takes on at a time.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// The connections with clients.
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// What instances share besides the shards.
    pub(crate) fn shared(&self) -> &Arc<dyn SharedStore> {
        &self.0.shared
    }

    /// The catalog of the fleet; embedded storage has none to follow.
    pub(crate) fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.0.catalog.as_ref()
    }

    /// Cancelled once the instance is about to end.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Whether it is about to end, and takes requests a little longer.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Requests that must be finished before the service ends.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }
}
