//! The run skeleton that instances and gateways share: bind, limit connections, serve, and drain.

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

/// The bound addresses of a process. Clients can connect, but are not served yet.
#[derive(Debug)]
pub(crate) struct BoundAddresses {
    pub(crate) public: TcpListener,
    pub(crate) operator: Option<TcpListener>,
}

impl BoundAddresses {
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let public = bind("listen", settings.listen).await?;
        let operator = match settings.operator_listen {
            Some(address) => Some(bind("operator_listen", address).await?),
            None => None,
        };
        Ok(Self { public, operator })
    }

    /// Returns the listeners. The service `operator` is served on the operator address, if there are both.
    pub(crate) fn listeners<S>(self, public: S, operator: Option<S>) -> Vec<Listener<S>> {
        let mut listeners = vec![Listener::new(self.public, ListenerRole::Public, public)];
        let operator = self.operator.zip(operator);
        listeners.extend(operator.map(|(listener, service)| Listener::new(listener, ListenerRole::Operators, service)));
        listeners
    }
}

async fn bind(setting: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { setting, address, source })
}

/// Returns the client connections, limited by the settings and by the file descriptors left after what the process `needs`.
pub(crate) fn client_connections(settings: &Settings, needs: Needs) -> Result<Connections, StartError> {
    let wanted = settings.max_open_connections.map(|wanted| wanted as usize);
    let timeouts = ClientTimeouts {
        header_timeout: settings.header_timeout,
        send_timeout: settings.send_timeout,
        http2_idle_timeout: settings.http2_idle_timeout,
    };
    Ok(Connections::within_descriptor_limit(wanted, timeouts, needs)?)
}

pub(crate) struct Serving {
    pub(crate) connections: Connections,
    pub(crate) operator_tokens: OperatorTokens,
    /// Cancelled when the process begins to drain.
    pub(crate) draining: CancellationToken,
}

impl Serving {
    /// Starts the background tasks that serving needs.
    pub(crate) fn start_background(&self, background: &Background) {
        background.supervise("log repeats", repeats::run);
        let connections = self.connections.clone();
        background.supervise("connections", move |stop| connections.clone().sweep(stop));
    }

    /// Serves until `stop`, drains, and returns the deadline for work still in progress.
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
