//! What instances and gateways do alike as processes: bind, bound their connections, serve, and drain.

use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    config::{OperatorTokens, Settings},
    descriptors::Needs,
    log::repeats,
    supervisor::Background,
    web::{ClientTimeouts, Connections, HttpService, Listener, ListenerPolicy, ListenerRole, SentBody, serve},
};

/// The addresses of a process, bound: other processes can connect from then on.
#[derive(Debug)]
pub(crate) struct BoundAddresses {
    pub(crate) public: TcpListener,
    pub(crate) operator: Option<TcpListener>,
}

impl BoundAddresses {
    /// Binds the addresses that the settings name.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let public = bind("listen", settings.listen).await?;
        let operator = match settings.operator_listen {
            Some(address) => Some(bind("operator_listen", address).await?),
            None => None,
        };
        Ok(Self { public, operator })
    }

    /// The listeners of these addresses; `operator` is served on the second one, if there is one.
    pub(crate) fn listeners<S>(self, public: S, operator: impl FnOnce() -> Option<S>) -> Vec<Listener<S>> {
        let mut listeners = vec![Listener::new(self.public, ListenerRole::Public, public)];
        let operator = self.operator.and_then(|listener| Some((listener, operator()?)));
        listeners.extend(operator.map(|(listener, service)| Listener::new(listener, ListenerRole::Operators, service)));
        listeners
    }
}

async fn bind(setting: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { setting, address, source })
}

/// As many connections with clients as the settings and the limit on descriptors allow, besides what the process `needs`.
pub(crate) fn client_connections(settings: &Settings, needs: Needs) -> Result<Connections, StartError> {
    let wanted = settings.max_open_connections.map(|wanted| wanted as usize);
    let timeouts = ClientTimeouts {
        header_timeout: settings.header_timeout,
        send_timeout: settings.send_timeout,
        http2_idle_timeout: settings.http2_idle_timeout,
    };
    Ok(Connections::within_descriptor_limit(wanted, timeouts, needs)?)
}

/// How a process serves its clients.
pub(crate) struct Serving {
    pub(crate) connections: Connections,
    pub(crate) operator_tokens: OperatorTokens,
    /// Cancelled once the process is about to end.
    pub(crate) draining: CancellationToken,
}

impl Serving {
    /// Starts the background tasks that serving needs.
    pub(crate) fn start_background(&self, background: &Background) {
        background.supervise("log repeats", repeats::run);
        let connections = self.connections.clone();
        background.supervise("connections", move |stop| connections.clone().sweep(stop));
    }

    /// Serves until `stop`, drains, and returns by when what is still under way must end.
    pub(crate) async fn run<S: HttpService<B>, B: SentBody>(
        self,
        listeners: Vec<Listener<S>>,
        settings: &Settings,
        stop: CancellationToken,
    ) -> Instant {
        let policy = ListenerPolicy {
            connections: self.connections,
            trusted_proxies: settings.trusted_proxies.clone(),
            operator_tokens: self.operator_tokens,
            drain_timeout: settings.drain_timeout,
        };
        let close = CancellationToken::new();
        let serving = listeners.into_iter().map(|listener| serve(listener, policy.clone(), close.clone()));
        let draining = async {
            stop.cancelled().await;
            tracing::info!("draining; new requests are served for drain_delay");
            self.draining.cancel();
            tokio::time::sleep(settings.drain_delay).await;
            close.cancel();
            Instant::now() + settings.drain_timeout
        };
        futures_util::future::join(futures_util::future::join_all(serving), draining).await.1
    }
}
