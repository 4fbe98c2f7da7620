//! Connections to Redis servers.

use std::{path::Path, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, EventInterface},
    types::{
        Value,
        config::{
            Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, Server, ServerConfig, TcpConfig, TlsConfig,
            TlsHostMapping, UnresponsiveConfig,
        },
    },
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::AbortHandle,
};

use super::{
    address::{InvalidUrl, RedisAddress},
    command::{COMMAND_TIMEOUT, Command, RECONNECT_INTERVAL},
    errors::is_read_only,
    role::{self, Primary},
    tls::{self, CaFileError},
};

/// The Redis settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("redis_url: {0}")]
    Url(#[from] InvalidUrl),
    #[error("redis_ca_file: {0}")]
    CaFile(#[from] CaFileError),
}

/// Opens connections with the configured credentials and TLS.
#[derive(Debug, Clone)]
pub(super) struct Connector(Config);

/// A connection that reconnects whenever it breaks, until this is dropped. While it is not connected, commands fail within
/// [`COMMAND_TIMEOUT`].
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// `None` if the server need not be a primary.
    primary: Option<Arc<Primary>>,
    tasks: Vec<AbortHandle>,
}

impl Connector {
    pub(super) fn new(address: &RedisAddress, ca_file: Option<&Path>) -> Result<Self, ConnectError> {
        let connector = address.tls.then(|| tls::connector(ca_file)).transpose()?;
        let tls = connector.map(|connector| TlsConfig { connector, hostnames: TlsHostMapping::None });
        Ok(Self(Config { tls, ..address.config.clone() }))
    }

    /// Connects in the background to a server that must be a primary.
    pub(super) fn open_primary(&self, server: ServerConfig) -> Connection {
        let mut connection = self.open(server);
        let primary = Arc::new(Primary::default());
        let following = tokio::spawn(role::follow(connection.client.clone(), Arc::clone(&primary)));
        connection.tasks.push(following.abort_handle());
        connection.primary = Some(primary);
        connection
    }

    /// Connects in the background.
    pub(super) fn open(&self, server: ServerConfig) -> Connection {
        let config = Config { server, ..self.0.clone() };
        let performance =
            PerformanceConfig { default_command_timeout: COMMAND_TIMEOUT, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: Duration::from_millis(500),
            internal_command_timeout: Duration::from_millis(500),
            // A write whose response was lost must not be repeated.
            max_command_attempts: 1,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(1)),
                interval: Duration::from_millis(250),
            },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let policy = ReconnectPolicy::new_constant(0, RECONNECT_INTERVAL.as_millis() as u32);
        let client = Client::new(config, Some(performance), Some(connection), Some(policy));
        let logging = tokio::spawn(log_connection_state(client.error_rx(), client.reconnect_rx()));
        Connection { tasks: vec![client.connect().abort_handle(), logging.abort_handle()], primary: None, client }
    }
}

impl Connection {
    /// Sends commands in a pipeline. Returns their answers or the first error.
    pub(super) async fn send_all(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        self.wait_for_primary().await?;
        let pipeline = self.client.pipeline();
        for command in commands {
            let () = pipeline.custom(command.custom(), command.arguments).await?;
        }
        self.checked(pipeline.all().await)
    }

    /// Sends a command and returns its answer. A command that is cancelled before it was sent is never sent.
    pub(super) async fn send(&self, command: Command) -> Result<Value, Error> {
        self.wait_for_primary().await?;
        // Boxed because fred's future is large, and the futures around it would copy it.
        self.checked(Box::pin(self.client.custom(command.custom(), command.arguments)).await)
    }

    async fn wait_for_primary(&self) -> Result<(), Error> {
        match &self.primary {
            Some(primary) => primary.wait().await,
            None => Ok(()),
        }
    }

    /// Marks the role as unknown if the answer shows that the server has become a replica. Returns the answer.
    fn checked<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let (Some(primary), Err(error)) = (&self.primary, &answer)
            && is_read_only(error)
        {
            primary.mark_stale();
        }
        answer
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "closing a Redis connection failed");
        }
    }
}

/// Logs why connecting fails, each reason once, and when the connection is back.
async fn log_connection_state(mut errors: Receiver<(Error, Option<Server>)>, mut connected: Receiver<Server>) {
    let mut last_logged = String::new();
    loop {
        tokio::select! {
            error = errors.recv() => match error {
                Ok((error, _)) if error.details() != last_logged => {
                    tracing::warn!(%error, "cannot connect to Redis; retrying");
                    last_logged = error.details().to_owned();
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
            server = connected.recv() => match server {
                Ok(server) if !last_logged.is_empty() => {
                    tracing::info!(%server, "connected to Redis again");
                    last_logged.clear();
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The tasks do not end by themselves.
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
