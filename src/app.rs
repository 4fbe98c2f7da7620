//! The running service: everything that requests need, in one handle.

mod catalog;
mod command;
mod metrics;
mod readiness;
mod run;
mod scaling;
mod stores;
mod tuning;

use std::sync::Arc;

use symbolon_batcher::BatchStats;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use command::CommandShards;
pub use readiness::{Dependency, Readiness};
pub use run::Server;
pub use stores::StartError;
pub(crate) use stores::{Shared, open_shared};

use crate::{
    admission::Admission,
    config::{OperatorTokens, Settings},
    fleet::{Fleet, Leader, Scaling},
    http::Connections,
    load::LoadMeter,
    metrics::RequestMetrics,
    monitor::Monitor,
    passwords::Passwords,
    sessions::Sessions,
    shards::Shards,
    shared_store::{BalancerControl, NoteStore, SharedStore},
    throttle::Guesses,
    tuner::Tuner,
    users::Users,
};

/// The service's state; clones share it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    settings: Settings,
    operator_tokens: OperatorTokens,
    guesses: Guesses,
    shards: Shards,
    catalog: Option<Arc<catalog::Catalog>>,
    shared: Arc<dyn SharedStore>,
    passwords: Arc<Passwords>,
    sessions: Sessions,
    users: Users,
    fleet: Fleet,
    leader: Leader,
    scaling: Scaling,
    load: LoadMeter,
    requests: RequestMetrics,
    monitor: Monitor,
    tuner: Tuner,
    admission: Admission,
    connections: Connections,
    dependencies: readiness::Dependencies,
    draining: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The tokens that open the operator endpoints.
    pub fn operator_tokens(&self) -> &OperatorTokens {
        &self.0.operator_tokens
    }

    /// What counts guesses at those tokens.
    pub fn guesses(&self) -> &Guesses {
        &self.0.guesses
    }

    /// The shards in force.
    pub fn shards(&self) -> &Shards {
        &self.0.shards
    }

    /// What hashes passwords.
    pub fn passwords(&self) -> &Passwords {
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

    /// Whether it is about to end, and takes requests a little longer.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Requests that must be finished before the service ends.
    pub fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }
}
