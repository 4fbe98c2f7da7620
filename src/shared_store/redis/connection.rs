//! Connections with Redis servers, and what is sent over them.

use std::{path::Path, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, EventInterface},
    types::{
        ClusterHash, CustomCommand, Value,
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
    ConnectError,
    address::RedisAddress,
    role::{self, Primary},
    tls,
};

/// How long a command may take. fred's default is forever.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_millis(200);
/// How long to wait between attempts to connect again.
pub(super) const RECONNECT_EVERY: Duration = Duration::from_millis(100);

/// A command as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Command {
    name: &'static str,
    arguments: Vec<Value>,
}

impl Command {
    pub(super) fn new<T: Into<Value>>(name: &'static str, arguments: impl IntoIterator<Item = T>) -> Self {
        Self { name, arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// One without arguments.
    pub(super) fn bare(name: &'static str) -> Self {
        Self { name, arguments: Vec::new() }
    }

    pub(super) fn custom(&self) -> CustomCommand {
        CustomCommand::new_static(self.name, ClusterHash::Random, false)
    }
}

/// How to connect: credentials and TLS.
#[derive(Debug, Clone)]
pub(super) struct Connector(Config);

/// A connection that is made again whenever it breaks, until this is dropped. Until it is made, and in between, commands
/// fail within [`COMMAND_TIMEOUT`].
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// None where any server will do.
    primary: Option<Arc<Primary>>,
    tasks: Vec<AbortHandle>,
}

impl Connector {
    pub(super) fn new(address: &RedisAddress, ca_file: Option<&Path>) -> Result<Self, ConnectError> {
        let connector = address.tls.then(|| tls::connector(ca_file)).transpose()?;
        let tls = connector.map(|connector| TlsConfig { connector, hostnames: TlsHostMapping::None });
        Ok(Self(Config { tls, ..address.config.clone() }))
    }

    /// Connects in the background with a server that must be a primary.
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
            // A write whose answer was lost must not be made twice.
            max_command_attempts: 1,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(1)),
                interval: Duration::from_millis(250),
            },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let policy = ReconnectPolicy::new_constant(0, RECONNECT_EVERY.as_millis() as u32);
        let client = Client::new(config, Some(performance), Some(connection), Some(policy));
        let report = tokio::spawn(report(client.error_rx(), client.reconnect_rx()));
        Connection { tasks: vec![client.connect().abort_handle(), report.abort_handle()], primary: None, client }
    }
}

impl Connection {
    /// Sends commands one behind the other and returns their answers, or the first error.
    pub(super) async fn send_all(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        self.confirmed().await?;
        let pipeline = self.client.pipeline();
        for command in commands {
            let () = pipeline.custom(command.custom(), command.arguments).await?;
        }
        self.judged(pipeline.all().await)
    }

    /// Sends a command and returns its answer. One that was given up before it was sent is never sent.
    pub(super) async fn send(&self, command: Command) -> Result<Value, Error> {
        self.confirmed().await?;
        // In a box, as fred's future is large, and would be moved by each that is around it.
        self.judged(Box::pin(self.client.custom(command.custom(), command.arguments)).await)
    }

    async fn confirmed(&self) -> Result<(), Error> {
        match &self.primary {
            Some(primary) => primary.confirmed().await,
            None => Ok(()),
        }
    }

    /// An answer, which may tell that the server has become a replica.
    fn judged<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let (Some(primary), Err(error)) = (&self.primary, &answer)
            && role::is_read_only(error)
        {
            primary.doubt();
        }
        answer
    }

    /// Says goodbye.
    pub(super) async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "a connection to Redis ended otherwise");
        }
    }
}

/// Says in the log why there is no connection, each reason once, and when there is one again.
async fn report(mut errors: Receiver<(Error, Option<Server>)>, mut connected: Receiver<Server>) {
    let mut reported = String::new();
    loop {
        tokio::select! {
            error = errors.recv() => match error {
                Ok((error, _)) if error.details() != reported => {
                    tracing::warn!(%error, "no connection with Redis; it is tried again");
                    reported = error.details().to_owned();
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
            server = connected.recv() => match server {
                Ok(server) if !reported.is_empty() => {
                    tracing::info!(%server, "connected with Redis again");
                    reported.clear();
                }
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // They would go on for ever.
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
