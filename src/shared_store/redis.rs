//! The shared store in Redis: a single server, Sentinel, or a Cluster.
//!
//! Keys of one user share the hash tag `{user_id}`, so they are in one slot of a Cluster and one script can hold a
//! condition together with a write:
//!
//! | key | type | what |
//! |---|---|---|
//! | `symbolon:{id}:gen` | string | the generation |
//! | `symbolon:{id}:snap` | hash `v`, `d` | the snapshot and its version |
//! | `symbolon:{id}:index` | sorted set | session ids by absolute expiry |
//! | `symbolon:{id}:session:<id>` | hash | one session: `g`eneration, `d`igest, `c`reated, `i`dle end, `e`nd, `a`ddress, `u`ser agent |
//! | `symbolon:throttle:{<digest>}` | string | when a bucket will be full |
//! | `symbolon:{fleet}:seen`, `:records` | sorted set, hash | instances |
//! | `symbolon:lock:{<name>}` | hash | a lock |
//!
//! Every key but locks has a time to live: Redis removes what has expired, and nothing depends on when. No JSON is decoded
//! in Lua, which would turn `[]` into `{}` and round integers. Whether a session is alive is decided by the times in it.

mod durability;
mod fleet;
mod sessions;
mod throttle;
mod totals;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{
        Builder, FromValue, MultipleKeys, MultipleValues,
        config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
        scripts::Script,
    },
};

use super::SharedStore;
use crate::{
    breaker::{Breaker, Circuit},
    clock::Timestamp,
    store_error::StoreError,
};

/// What every key begins with.
const PREFIX: &str = "symbolon:";

/// How long a command may take. fred's default is forever.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(200);
/// How long to wait between attempts to connect again.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);

/// The shared store in Redis.
#[derive(Debug)]
pub struct RedisSharedStore {
    client: Client,
    breaker: Breaker,
    scripts: Scripts,
}

/// What conditions and writes belong together.
#[derive(Debug)]
struct Scripts {
    create_session: Script,
    use_session: Script,
    list_sessions: Script,
    end_session: Script,
    raise_generation: Script,
    forget_user: Script,
    put_snapshot: Script,
    charge: Script,
    refund: Script,
    acquire_lock: Script,
    release_lock: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            create_session: Script::from_lua(include_str!("redis/lua/create_session.lua")),
            use_session: Script::from_lua(include_str!("redis/lua/use_session.lua")),
            list_sessions: Script::from_lua(include_str!("redis/lua/list_sessions.lua")),
            end_session: Script::from_lua(include_str!("redis/lua/end_session.lua")),
            raise_generation: Script::from_lua(include_str!("redis/lua/raise_generation.lua")),
            forget_user: Script::from_lua(include_str!("redis/lua/forget_user.lua")),
            put_snapshot: Script::from_lua(include_str!("redis/lua/put_snapshot.lua")),
            charge: Script::from_lua(include_str!("redis/lua/charge.lua")),
            refund: Script::from_lua(include_str!("redis/lua/refund.lua")),
            acquire_lock: Script::from_lua(include_str!("redis/lua/acquire_lock.lua")),
            release_lock: Script::from_lua(include_str!("redis/lua/release_lock.lua")),
        }
    }
}

/// A URL that is not Redis'.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not a Redis URL, such as redis://host:6379, redis-cluster://host:7000 or redis-sentinel://host:26379?sentinelServiceName=main"
)]
pub struct InvalidUrl;

impl RedisSharedStore {
    /// Connects in the background, and again whenever the connection breaks. Until then, and in between, commands fail
    /// within 200 ms.
    ///
    /// # Errors
    /// [`InvalidUrl`] for a URL that can't be read; a server that can't be reached is no error here.
    pub fn connect(url: &str) -> Result<Self, InvalidUrl> {
        let config = Config { fail_fast: false, ..Config::from_url(url).map_err(|_| InvalidUrl)? };
        let client = Builder::from_config(config)
            .set_performance_config(PerformanceConfig {
                default_command_timeout: COMMAND_TIMEOUT,
                ..PerformanceConfig::default()
            })
            .set_connection_config(ConnectionConfig {
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
            })
            .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_EVERY.as_millis() as u32))
            .build()
            .map_err(|_| InvalidUrl)?;
        client.connect();
        Ok(Self { client, breaker: Breaker::default(), scripts: Scripts::new() })
    }

    /// Waits until Redis answers, but not longer than `patience`; false if it does not.
    pub async fn answers_within(&self, patience: Duration) -> bool {
        let answers = async {
            while self.ping().await.is_err() {
                tokio::time::sleep(RECONNECT_EVERY).await;
            }
        };
        tokio::time::timeout(patience, answers).await.is_ok()
    }

    /// Says in the log what Redis is set up to lose.
    pub async fn warn_of_risks(&self) {
        match durability::risks(&self.client).await {
            Ok(risks) => risks.into_iter().for_each(|risk| tracing::warn!("Redis: {risk}")),
            Err(error) => tracing::info!(%error, "Redis does not tell its settings: what it would lose is not known"),
        }
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable { store: "shared".to_owned(), source: source.into() }
    }

    fn corrupt(&self, what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError::Corrupt { store: "shared".to_owned(), what, source: source.into() }
    }

    async fn run<R, K, V>(&self, script: &Script, keys: K, arguments: V) -> Result<R, StoreError>
    where
        R: FromValue,
        K: Into<MultipleKeys> + Send + Clone,
        V: TryInto<MultipleValues> + Send + Clone,
        V::Error: Into<Error> + Send,
    {
        self.guarded(script.evalsha_with_reload(&self.client, keys, arguments)).await
    }

    /// Does `work` if Redis is not known to be down.
    async fn guarded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let permit =
            self.breaker.permit(Instant::now()).ok_or_else(|| self.unavailable("the circuit breaker is open"))?;
        let result = work.await;
        permit.finish(!result.as_ref().is_err_and(is_down), Instant::now());
        result.map_err(|source| self.unavailable(source))
    }
}

/// Whether an error says that Redis is not there, rather than that it refused a command.
fn is_down(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
            | ErrorKind::Backpressure
    )
}

#[async_trait]
impl SharedStore for RedisSharedStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.guarded(self.client.ping::<String>(None)).await.map(drop)
    }

    /// Redis removes what has expired, but for records of instances: they are members of one key.
    async fn reap(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.forget_instances(now).await.map(|()| 0)
    }

    fn circuit(&self) -> Circuit {
        self.breaker.circuit(Instant::now())
    }

    async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "the connection to Redis ended otherwise");
        }
    }
}
