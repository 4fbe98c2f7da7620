//! Starts an instance from settings, runs it, and shuts it down after a stop signal.

use std::{net::SocketAddr, num::NonZero, path::PathBuf, sync::Arc};

use symbolon_balancer::{Node, NodeSpec};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    process::{BoundAddresses, Serving, client_connections},
    scaling,
    stores::{self, OpenShards, StartError},
    tuning::{self, Tunables},
};
use crate::{
    admission::{Admission, AdmissionPolicy},
    app::{App, Components, Dependencies},
    compaction,
    config::Settings,
    descriptors::Needs,
    fleet::{self, Fleet, Leader, ProcessId, Scaling},
    http,
    load::LoadMeter,
    metrics::RequestMetrics,
    model::Load,
    monitor::Monitor,
    passwords::{PasswordPolicy, Passwords},
    reaper,
    sessions::{SessionPolicy, Sessions},
    shards::{
        Shards,
        postgres::{PgShard, PrepareError},
    },
    shared_store::{SharedStore, redis::Hints},
    sqlite::Database,
    supervisor::Background,
    throttle::{GuessLimiter, Throttle, ThrottleLimits},
    users::Users,
    web::Listener,
};

/// Delay between attempts to prepare a shard that was down at start.
const PREPARE_RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// An instance that listens but does not serve yet.
pub struct Server {
    app: App,
    load_tx: watch::Sender<Option<Load>>,
    tunables: Tunables,
    files: Vec<Arc<Database>>,
    hints: Option<Arc<Hints>>,
    unprepared: Vec<Arc<PgShard>>,
    listeners: Vec<Listener<axum::Router>>,
    token_file: Option<PathBuf>,
}

impl Server {
    /// Opens the stores and binds the addresses. Clients can connect from then on, and are served by [`Self::run`].
    ///
    /// # Errors
    /// Returns [`StartError`], which names the setting at fault if there is one.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let bound = BoundAddresses::bind(&settings).await?;
        let connections = client_connections(&settings, needs(&settings))?;
        let stores = stores::open(&settings).await?;
        let password_policy = password_policy(&settings);
        let tasks = TaskTracker::new();
        let passwords = Arc::new(Passwords::start(&password_policy)?);
        let (tuner, tunables) = tuning::tuner(&settings, &password_policy);
        let sessions = Sessions::new(stores.shared.clone(), session_policy(&settings));
        let throttle = Throttle::new(stores.shared.clone(), throttle_limits(&settings), tasks.clone());
        let OpenShards { shards, catalog, unprepared, .. } = stores.shards;
        let users = Users::new(shards.clone(), sessions.clone(), passwords.clone(), throttle);
        let draining = CancellationToken::new();
        let node = Node::new(node_spec(&settings, bound.public.local_addr().unwrap_or(settings.listen)));
        let (load_tx, load) = watch::channel(None);
        let process = ProcessId::new(node.spec().id.clone());
        let leader = Leader::new(stores.shared.clone(), process.clone(), draining.clone());
        let fleet = Fleet::new(stores.shared.clone(), process, node, load, draining.clone());
        let app = App::new(Components {
            scaling: Scaling::new(
                stores.shared.clone(),
                fleet.watch().clone(),
                leader.clone(),
                fleet.own().spec().id.clone(),
                scaling::policy(&settings)?,
            ),
            load: LoadMeter::default(),
            leader,
            fleet,
            requests: RequestMetrics::default(),
            monitor: Monitor::new(settings.monitor_interval),
            tuner,
            admission: Admission::new(admission_policy(&settings)),
            operator_tokens: stores.operator_tokens,
            guesses: GuessLimiter::new(settings.throttle.then_some(settings.throttle_operator)),
            shards,
            catalog,
            shared: stores.shared,
            passwords,
            sessions,
            users,
            connections,
            dependencies: Dependencies::default(),
            draining,
            tasks,
            settings,
        });
        let routers = http::routers(&app);
        let listeners = bound.listeners(routers.public, routers.operator);
        let unprepared = match app.shards().current() {
            Ok(placement) => prepare_at_start(unprepared, placement.epoch).await?,
            Err(_) => unprepared,
        };
        Ok(Self {
            app,
            load_tx,
            tunables,
            files: stores.files,
            hints: stores.hints.map(Arc::new),
            unprepared,
            listeners,
            token_file: stores.token_file,
        })
    }

    /// Returns the public address, with the actual port.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners[0].address()
    }

    /// Returns the file that holds the generated operator token, if one was generated.
    pub fn token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    /// Serves until `stop`. Then finishes requests in progress, leaves the fleet and closes the stores.
    pub async fn run(self, stop: CancellationToken) {
        let app = self.app;
        let settings = app.settings();
        let background = Background::default();
        let serving = Serving {
            connections: app.connections().clone(),
            operator_tokens: app.operator_tokens().clone(),
            draining: app.draining().clone(),
        };
        serving.start_background(&background);
        start_background(&app, &background);
        start_scaling(&app, self.load_tx, &background);
        start_tuning(&app, self.tunables, self.files, &background);
        if let Some(hints) = self.hints {
            let shards = app.shards().clone();
            background.supervise("hints", move |stop| {
                let (hints, shards) = (Arc::clone(&hints), shards.clone());
                async move {
                    let listen = hints.listen(|| shards.request_refresh());
                    stop.run_until_cancelled(listen).await;
                }
            });
        }
        for shard in self.unprepared {
            let shards = app.shards().clone();
            background.supervise("prepare", move |stop| prepare(Arc::clone(&shard), shards.clone(), stop));
        }
        let deadline = serving.run(self.listeners, settings, stop).await;
        app.tasks().close();
        if tokio::time::timeout_at(deadline, app.tasks().wait()).await.is_err() {
            tracing::warn!(in_progress = app.tasks().len(), "drain timeout reached; changes are still in progress");
        }
        background.stop().await;
        app.shards().close().await;
        app.shared().close().await;
        tracing::info!("stopped");
    }
}

/// Returns how many file descriptors the process needs. Each embedded database has several readers and a writer, with up to
/// three files each.
fn needs(settings: &Settings) -> Needs {
    let stores =
        if settings.is_embedded() { 128 } else { 64 } + settings.shards.0.len() * settings.shard_connections as usize;
    Needs { stores, per_connection: 1 }
}

/// Prepares the shards that answer and returns the others.
///
/// # Errors
/// Returns [`StartError::Unprepared`] if a shard holds the data of another one.
async fn prepare_at_start(mut shards: Vec<Arc<PgShard>>, epoch: i64) -> Result<Vec<Arc<PgShard>>, StartError> {
    let prepared = futures_util::future::join_all(shards.iter().map(|shard| shard.prepare(epoch))).await;
    for result in prepared {
        match result {
            Err(error @ PrepareError::Mixed { .. }) => return Err(StartError::Unprepared(error)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "shard is down; retrying in the background")
            }
            Ok(()) => {}
        }
    }
    shards.retain(|shard| !shard.is_prepared());
    Ok(shards)
}

/// Prepares a shard that was down at start, once it answers. Then waits for `stop`.
async fn prepare(shard: Arc<PgShard>, shards: Shards, stop: CancellationToken) {
    while !shard.is_prepared() {
        let epoch = tokio::select! {
            () = stop.cancelled() => return,
            placement = shards.wait_for_topology() => placement.epoch,
        };
        match shard.prepare(epoch).await {
            Ok(()) => tracing::info!(shard = shard.id(), "shard answers and is prepared"),
            Err(error @ PrepareError::Mixed { .. }) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "shard is not used until its configuration is corrected"
                );
                return stop.cancelled().await;
            }
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "shard is still down"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PREPARE_RETRY) => {}
        }
    }
    stop.cancelled().await;
}

fn start_background(app: &App, background: &Background) {
    let fleet = app.fleet().clone();
    let (watch, leader) = (fleet.watch().clone(), app.leader().clone());
    let shared = app.shared().clone();
    background.supervise("clock", move |stop| fleet::time::follow(shared.clone(), stop));
    background.supervise("fleet", move |stop| fleet.clone().run(stop));
    background.supervise("fleet watch", move |stop| watch.clone().run(stop));
    background.supervise("leader", move |stop| leader.clone().run(stop));
    if let Some(catalog) = app.catalog().cloned() {
        background.supervise("catalog", move |stop| {
            let catalog = Arc::clone(&catalog);
            async move { catalog.follow(stop).await }
        });
    }
    let watched = app.clone();
    background.supervise("dependencies", move |stop| watched.clone().watch_dependencies(stop));
    let (monitor, interval, data) =
        (app.monitor().clone(), app.settings().monitor_interval, app.settings().data_dir.clone());
    background.supervise("monitor", move |stop| monitor.clone().run(interval, data.clone(), stop));
}

/// Starts the load measurement of this instance, and the scaler.
fn start_scaling(app: &App, load_tx: watch::Sender<Option<Load>>, background: &Background) {
    let (meter, passwords) = (app.load().clone(), app.passwords().clone());
    background.supervise("load meter", move |stop| meter.clone().run(passwords.clone(), stop));
    let reporting = app.clone();
    background.supervise("load", move |stop| scaling::report_load(reporting.clone(), load_tx.clone(), stop));
    let scaling = app.scaling().clone();
    background.supervise("scaling", move |stop| scaling.clone().run(stop));
}

/// Starts the tuner and the tasks that follow its knobs.
fn start_tuning(app: &App, tunables: Tunables, files: Vec<Arc<Database>>, background: &Background) {
    let (tuner, monitor) = (app.tuner().clone(), app.monitor().clone());
    background.supervise("tuner", move |stop| tuner.clone().run(monitor.clone(), stop));
    let (switched, views) = (app.clone(), app.fleet().watch().subscribe());
    background.supervise("tuner switch", move |stop| tuning::follow_switch(switched.clone(), views.clone(), stop));
    let (passwords, hashing) = (app.passwords().clone(), tunables.hashing);
    background.supervise("hashing", move |stop| tuning::follow_hashing(passwords.clone(), hashing.clone(), stop));
    let (shared, process): (Arc<dyn SharedStore>, _) = (app.shared().clone(), app.fleet().process().clone());
    let interval = tunables.reap_interval;
    background.supervise("reaper", move |stop| reaper::run(shared.clone(), process.clone(), interval.clone(), stop));
    let Some(embedded) = tunables.embedded else { return };
    let (cached, caches) = (files.clone(), embedded.clone());
    background.supervise("caches", move |stop| tuning::follow_cache_size(cached.clone(), caches.clone(), stop));
    let interval = embedded.compaction_interval;
    background.supervise("compaction", move |stop| compaction::run(files.clone(), interval.clone(), stop));
}

fn node_spec(settings: &Settings, address: SocketAddr) -> NodeSpec {
    NodeSpec {
        id: settings.instance_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        url: settings.advertise_url.clone().unwrap_or_else(|| format!("http://{address}")),
        weight: settings.weight,
        max_connections: settings.max_connections,
        region: settings.region.clone(),
        zone: settings.zone.clone(),
    }
}

fn password_policy(settings: &Settings) -> PasswordPolicy {
    let cores_but_one = || std::thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1);
    PasswordPolicy {
        memory_kib: settings.argon2_memory_kib,
        iterations: settings.argon2_iterations,
        parallelism: settings.argon2_parallelism,
        threads: if settings.hash_threads == 0 { cores_but_one() } else { settings.hash_threads as usize },
        queue_timeout: settings.hash_queue_timeout,
    }
}

fn admission_policy(settings: &Settings) -> AdmissionPolicy {
    AdmissionPolicy {
        enabled: settings.admission,
        min: settings.concurrency_min,
        max: settings.concurrency_max,
        hash_deadline: settings.hash_queue_timeout,
    }
}

fn session_policy(settings: &Settings) -> SessionPolicy {
    SessionPolicy {
        idle: settings.session_idle_timeout,
        lifetime: settings.session_lifetime,
        limit: settings.session_limit,
    }
}

fn throttle_limits(settings: &Settings) -> Option<ThrottleLimits> {
    if !settings.throttle {
        tracing::warn!("throttling is off; password guesses are not limited");
    }
    settings.throttle.then_some(ThrottleLimits {
        name_and_address: settings.throttle_name_address,
        address: settings.throttle_address,
        name: settings.throttle_name,
        registrations: settings.throttle_registrations,
        logins: settings.throttle_logins,
    })
}
