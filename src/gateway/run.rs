//! From settings to a gateway that listens, and from a stop signal to its end.

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
    spawn::{Launch, Spawner, scale},
    upstream::UpstreamPolicy,
};
use crate::{
    config::Settings,
    descriptors::Needs,
    fleet::{self, FleetWatch},
    health_check::{self, Cadence, http::HttpCheck},
    server::{
        Shared, StartError, open_shared,
        process::{BoundAddresses, Serving, client_connections},
    },
    shared_store::SharedStore,
    supervisor::Background,
    throttle::Guesses,
    web::ClientBody,
};

/// How many second attempts there are each second however few the requests.
const RETRY_RESERVE: u32 = 10;

/// Where a gateway's nodes come from.
#[derive(Debug, Clone)]
pub enum NodeSource {
    /// The fleet that the settings lead to.
    Fleet,
    /// These addresses, such as `http://10.0.0.7:8080`.
    Addresses(Vec<String>),
    /// A fleet of the gateway's own. Its instances get these arguments.
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
    /// Binds the addresses and opens what leads to the nodes.
    ///
    /// # Errors
    /// [`StartError`] names the setting at fault where there is one.
    pub async fn start(settings: Settings, source: NodeSource) -> Result<Self, StartError> {
        let bound = BoundAddresses::bind(&settings).await?;
        // Each may need a connection with a node, and there are as many streams of HTTP/2 besides that may.
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
            NodeSource::Spawn(count, arguments) => Some(Spawner::new(count, launch(&settings, count, arguments)?)),
        };
        let gateway = Gateway(Arc::new(Inner {
            policy: gateway_policy(&settings),
            budget: RetryBudget::new(settings.gateway_retry_percent, RETRY_RESERVE, now),
            metrics: Metrics::new(Arc::clone(&nodes.balancer), connections.clone()),
            nodes,
            operator_tokens,
            guesses: Guesses::new(settings.throttle.then_some(settings.throttle_operator)),
            operators_apart: bound.operator.is_some(),
            connections,
            draining: CancellationToken::new(),
            spawner,
            own: OnceLock::new(),
        }));
        Ok(Self { gateway, settings, store, bound, token_file })
    }

    /// The address that it got.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.bound.public.local_addr()
    }

    /// The file that holds the operator token, if one was made.
    pub fn token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    /// What has all instances that it runs replaced, one after the other.
    pub fn roller(&self) -> impl Fn() + Send + 'static {
        let gateway = self.gateway.clone();
        move || match &gateway.0.spawner {
            Some(spawner) => spawner.roll(),
            None => tracing::warn!("there are no instances of this gateway's own to replace"),
        }
    }

    /// Passes requests on until `stop`; then lets those under way end, and the instances that it runs.
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
            if spawner.is_elastic() {
                let (spawner, store) = (spawner.clone(), Arc::clone(&store));
                background.supervise("scale", move |stop| scale::follow(spawner.clone(), Arc::clone(&store), stop));
            }
            let gateway = gateway.clone();
            instances.supervise("spawner", move |stop| {
                let (spawner, gateway, store) = (spawner.clone(), gateway.clone(), Arc::clone(&store));
                async move { spawner.run(&gateway.0.nodes, store, stop).await }
            });
        }
        let public = Entrance { gateway: gateway.clone(), is_operators: bound.operator.is_none() };
        let operator = Entrance { gateway, is_operators: true };
        let _ = serving.run(bound.listeners(public, || Some(operator)), &settings, stop).await;
        instances.stop().await;
        background.stop().await;
        if let Some(store) = store {
            store.close().await;
        }
        tracing::info!("stopped");
    }
}

/// What a listener shows.
#[derive(Debug, Clone)]
struct Entrance {
    gateway: Gateway,
    /// Whether operators' endpoints are there.
    is_operators: bool,
}

impl tower::Service<Request<ClientBody>> for Entrance {
    type Response = Response<ResponseBody>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ClientBody>) -> Self::Future {
        let Self { gateway, is_operators } = self.clone();
        Box::pin(async move { Ok(gateway.answer(request, is_operators).await) })
    }
}

/// How long an instance on this machine takes until it takes requests, with time to spare.
const SPAWNED_STARTUP: Duration = Duration::from_secs(5);

fn start_background(
    gateway: &Gateway,
    settings: &Settings,
    store: Option<Arc<dyn SharedStore>>,
    background: &Background,
) {
    let cadence = Cadence {
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
            async move { check.ready(&url).await }
        };
        health_check::run(Arc::clone(&checked.0.nodes.balancer), cadence, probe, stop)
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

/// A node that is known by its address only.
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

/// How instances are started. They share the machine's cores, start fast, and are as many as the gateway runs.
fn launch(settings: &Settings, count: SpawnCount, mut arguments: Vec<String>) -> Result<Launch, StartError> {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let share = settings.scaling_cores.map_or(cores / f64::from(count.most), |cores| cores.0);
    let startup = settings.scaling_startup.unwrap_or(SPAWNED_STARTUP);
    arguments.extend([
        format!("--scaling-min={}", count.least),
        format!("--scaling-max={}", count.most),
        format!("--scaling-cores={share:.2}"),
        format!("--scaling-startup={}", humantime::format_duration(startup)),
    ]);
    let program = std::env::current_exe().map_err(|source| StartError::Data { path: "symbolon".into(), source })?;
    Ok(Launch {
        program,
        arguments,
        prefix: format!("gateway-{:08x}", fastrand::u32(..)),
        marks_lines: settings.log_format == crate::log::LogFormat::Text,
        drain: settings.drain_delay + settings.drain_timeout + Duration::from_secs(5),
    })
}
