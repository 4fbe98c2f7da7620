//! Start, run and shutdown of the gateway.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http::{Request, Response};
use symbolon_balancer::{Balancer, NodeSpec, Policy};
use tokio_util::sync::CancellationToken;

use super::{
    Gateway, GatewayPolicy, Inner, ResponseBody, SpawnCount,
    budget::RetryBudget,
    follow::Follower,
    metrics::Metrics,
    nodes::{Nodes, authority},
    spawn::{LaunchOptions, Spawner, scale},
    upstream::UpstreamPolicy,
};
use crate::{
    config::Settings,
    descriptors::Needs,
    fleet::{self, FleetWatch},
    health_check::{self, CheckPolicy, http::HttpCheck},
    server::{
        Shared, StartError, open_shared,
        process::{BoundAddresses, Serving, client_connections},
    },
    shared_store::SharedStore,
    supervisor::Background,
    throttle::GuessLimiter,
    web::ClientBody,
};

/// Minimum number of retries per second.
const RETRY_RESERVE: u32 = 10;

/// Source of a gateway's nodes.
#[derive(Debug, Clone)]
pub enum NodeSource {
    /// The fleet registry in the configured shared store.
    Fleet,
    /// Fixed addresses, for example `http://10.0.0.7:8080`.
    Addresses(Vec<String>),
    /// Instances that the gateway runs itself, with these arguments.
    Spawn(SpawnCount, Vec<String>),
}

/// A gateway that listens but does not serve yet.
pub struct GatewayServer {
    gateway: Gateway,
    settings: Settings,
    store: Option<Arc<dyn SharedStore>>,
    bound: BoundAddresses,
    token_file: Option<PathBuf>,
}

impl GatewayServer {
    /// Binds the addresses and opens the shared store.
    ///
    /// # Errors
    /// [`StartError`] if an address can't be bound, the store can't be opened, or a setting is wrong.
    pub async fn start(settings: Settings, source: NodeSource) -> Result<Self, StartError> {
        let bound = BoundAddresses::bind(&settings).await?;
        // A client connection may need a connection to a node, and its HTTP/2 streams may need as many more.
        let connections = client_connections(&settings, Needs { stores: 64, per_connection: 3 })?;
        let (store, operator_tokens, token_file) = match &source {
            NodeSource::Addresses(_) => (None, settings.operator_token.clone(), None),
            NodeSource::Fleet | NodeSource::Spawn(..) => {
                let Shared { store, operator_tokens, token_file, .. } = open_shared(&settings).await?;
                (Some(store), operator_tokens, token_file)
            }
        };
        let now = Instant::now();
        let policy = UpstreamPolicy {
            connect_timeout: settings.gateway_connect_timeout,
            idle_timeout: settings.gateway_idle_timeout,
            http2: settings.gateway_http2,
        };
        let nodes = Nodes::new(Balancer::new(settings.gateway_algorithm, Policy::default(), now), policy);
        let spawner = match source {
            NodeSource::Fleet => None,
            NodeSource::Addresses(urls) => {
                nodes.set(urls.iter().map(|url| spec(&settings, url)).collect());
                None
            }
            NodeSource::Spawn(count, arguments) => {
                Some(Spawner::new(count, launch_options(&settings, count, arguments)?))
            }
        };
        let gateway = Gateway(Arc::new(Inner {
            policy: gateway_policy(&settings),
            budget: RetryBudget::new(settings.gateway_retry_percent, RETRY_RESERVE, now),
            metrics: Metrics::new(Arc::clone(&nodes.balancer), connections.clone()),
            nodes,
            operator_tokens,
            guesses: GuessLimiter::new(settings.throttle.then_some(settings.throttle_operator)),
            has_operator_listener: bound.operator.is_some(),
            connections,
            draining: CancellationToken::new(),
            spawner,
            own_router: OnceLock::new(),
        }));
        Ok(Self { gateway, settings, store, bound, token_file })
    }

    /// Returns the bound public address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.bound.public.local_addr()
    }

    /// Returns the file with the operator token, if one was generated.
    pub fn token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    /// Returns a function that starts a rolling restart of the spawned instances.
    pub fn instance_restarter(&self) -> impl Fn() + Send + 'static {
        let gateway = self.gateway.clone();
        move || match &gateway.0.spawner {
            Some(spawner) => spawner.restart_all(),
            None => tracing::warn!("rolling restart ignored; this gateway does not run instances"),
        }
    }

    /// Forwards requests until `stop`, then drains them and stops the spawned instances.
    pub async fn run(self, stop: CancellationToken) {
        let Self { gateway, settings, store, bound, .. } = self;
        let (background, instances) = (Background::default(), Background::default());
        let serving = Serving {
            connections: gateway.0.connections.clone(),
            operator_tokens: gateway.0.operator_tokens.clone(),
            draining: gateway.0.draining.clone(),
        };
        serving.start_background(&background);
        start_background(&gateway, &settings, store.clone(), &background);
        if let Some((spawner, store)) = gateway.0.spawner.clone().zip(store.clone()) {
            if spawner.is_scalable() {
                let (spawner, store) = (spawner.clone(), Arc::clone(&store));
                background.supervise("scale", move |stop| scale::follow(spawner.clone(), Arc::clone(&store), stop));
            }
            let gateway = gateway.clone();
            instances.supervise("spawner", move |stop| {
                let (spawner, gateway, store) = (spawner.clone(), gateway.clone(), Arc::clone(&store));
                async move { spawner.run(&gateway.0.nodes, store, stop).await }
            });
        }
        let public = ListenerService { gateway: gateway.clone(), serves_operators: bound.operator.is_none() };
        let operator = ListenerService { gateway, serves_operators: true };
        let _ = serving.run(bound.listeners(public, Some(operator)), &settings, stop).await;
        instances.stop().await;
        background.stop().await;
        if let Some(store) = store {
            store.close().await;
        }
        tracing::info!("stopped");
    }
}

/// The service of one listener.
#[derive(Debug, Clone)]
struct ListenerService {
    gateway: Gateway,
    serves_operators: bool,
}

impl tower::Service<Request<ClientBody>> for ListenerService {
    type Response = Response<ResponseBody>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ClientBody>) -> Self::Future {
        let Self { gateway, serves_operators } = self.clone();
        Box::pin(async move { Ok(gateway.handle(request, serves_operators).await) })
    }
}

/// Default start-up time of a spawned instance: longer than it takes.
const SPAWNED_STARTUP: Duration = Duration::from_secs(5);

fn start_background(
    gateway: &Gateway,
    settings: &Settings,
    store: Option<Arc<dyn SharedStore>>,
    background: &Background,
) {
    let policy = CheckPolicy {
        interval: settings.health_check_interval,
        timeout: settings.health_check_timeout,
        fall: settings.health_check_fall,
        rise: settings.health_check_rise,
    };
    let (checked, path) = (gateway.clone(), settings.health_check_path.0.clone());
    background.supervise("health checks", move |stop| {
        let (check, path) = (HttpCheck::new(), path.clone());
        let probe = move |node: Arc<symbolon_balancer::Node>| {
            let (check, url) = (check.clone(), format!("{}{path}", node.spec().url.trim_end_matches('/')));
            async move { check.check_ready(&url).await }
        };
        health_check::run(Arc::clone(&checked.0.nodes.balancer), policy, probe, stop)
    });
    let reaped = gateway.clone();
    background.supervise("idle connections", move |stop| {
        let gateway = reaped.clone();
        async move {
            stop.run_until_cancelled(gateway.0.nodes.reap()).await;
        }
    });
    if let Some(store) = store {
        let shared = store.clone();
        background.supervise("clock", move |stop| fleet::time::follow(shared.clone(), stop));
        let follower = Follower::new(gateway.clone(), FleetWatch::new(store));
        background.supervise("fleet", move |stop| follower.clone().run(stop));
    }
}

fn gateway_policy(settings: &Settings) -> GatewayPolicy {
    GatewayPolicy {
        hash_by: settings.gateway_hash_by.clone(),
        region: settings.region.clone(),
        zone: settings.zone.clone(),
        region_header: settings.gateway_region_header.clone(),
        zone_header: settings.gateway_zone_header.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        timeout: settings.gateway_timeout,
        body_timeout: settings.body_timeout,
    }
}

/// Returns the node of a fixed address. Its id is `host:port`.
fn spec(settings: &Settings, url: &str) -> NodeSpec {
    NodeSpec {
        id: authority(url).map_or_else(|| url.to_owned(), |authority| authority.to_string()),
        url: url.to_owned(),
        weight: 1,
        max_connections: settings.max_connections,
        region: settings.region.clone(),
        zone: settings.zone.clone(),
    }
}

/// Returns how instances are started: with the scaling bounds of the gateway, and an equal share of this machine's cores.
fn launch_options(
    settings: &Settings,
    count: SpawnCount,
    mut arguments: Vec<String>,
) -> Result<LaunchOptions, StartError> {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let share = settings.scaling_cores.map_or(cores / f64::from(count.max), |cores| cores.0);
    let startup = settings.scaling_startup.unwrap_or(SPAWNED_STARTUP);
    arguments.extend([
        format!("--scaling-min={}", count.min),
        format!("--scaling-max={}", count.max),
        format!("--scaling-cores={share:.2}"),
        format!("--scaling-startup={}", humantime::format_duration(startup)),
    ]);
    let program = std::env::current_exe().map_err(|source| StartError::Data { path: "symbolon".into(), source })?;
    Ok(LaunchOptions {
        program,
        arguments,
        id_prefix: format!("gateway-{:08x}", fastrand::u32(..)),
        prefix_log_lines: settings.log_format == crate::log::LogFormat::Text,
        drain_timeout: settings.drain_delay + settings.drain_timeout + Duration::from_secs(5),
    })
}
