//! Settings. Layers, lowest first: defaults, `symbolon.toml`, `SYMBOLON_*`, flags. Each setting has one flat name.
//!
//! A setting is defined only in the table below: its documentation is the help text of its flag, and its type parses it. An
//! invalid value stops the start with a message that names the setting and its source.

mod checks;
mod hash_by;
mod layers;
mod networks;
mod operator_tokens;
mod public_origin;
mod shards;
mod store_url;
mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use symbolon_balancer::Algorithm;
use symbolon_partitioner::{Node, PartitionerSpec, Strategy};
use symbolon_scaler::PolicyName;

pub use hash_by::HashBy;
pub use layers::{FILE, Layers, PREFIX};
pub use networks::Networks;
pub use operator_tokens::OperatorTokens;
pub use public_origin::PublicOrigin;
pub use store_url::{PgUrl, RedisUrl};
pub use value::{CheckPath, Cores, List, Pairs, Registration, ScalingRules, SettingValue, TunerRules};

pub use shards::{ShardUrl, ShardUrls};

use crate::{log::LogFormat, throttle::Limit};

/// A setting, as `--help` and `docs/configuration.md` show it.
#[derive(Debug, Clone, Copy)]
pub struct SettingInfo {
    /// Its flat name; `SYMBOLON_` + upper case in the environment, dashes for underscores as a flag.
    pub name: &'static str,
    /// The name that it had, which is still read throughout 0.1.x.
    pub former_name: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
    /// Its default, as text; empty where there is none.
    pub default: &'static str,
}

/// One or more invalid settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident $(was $former:ident)?: $type:ty = $default:literal;)*) => {
        /// Every setting, checked.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        /// Every setting in the order of the documentation.
        pub static SETTINGS: &[SettingInfo] = &[
            $(SettingInfo {
                name: stringify!($name),
                former_name: [$(Some(stringify!($former)),)? None][0],
                help: concat!($($doc),*),
                default: $default,
            },)*
        ];

        impl Settings {
            /// Reads every setting from its topmost layer, and checks those that depend on each other.
            ///
            /// # Errors
            /// [`ConfigError`] lists everything that is wrong.
            pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
                let mut errors = Vec::new();
                $(let $name = layers.read::<$type>(stringify!($name), $default, &mut errors);)*
                match ($($name,)*) {
                    ($(Some($name),)*) if errors.is_empty() => Self { $($name,)* }.checked(),
                    _ => Err(ConfigError(errors)),
                }
            }
        }
    };
}

settings! {
    /// Address that the service listens on.
    listen: SocketAddr = "127.0.0.1:8080";
    /// Address of a separate listener for the operator endpoints. Unset: they are served on `listen`.
    operator_listen: Option<SocketAddr> = "";
    /// Tokens for the operator endpoints, separated by commas. Unset with embedded storage: one is generated in the data directory.
    operator_token: OperatorTokens = "";
    /// URL at which other processes reach this instance. Unset: http:// and the listening address.
    advertise_url: Option<String> = "";
    /// Id of this instance, unique in the fleet. Unset: a random one.
    instance_id: Option<String> = "";
    /// Region of this instance.
    region: String = "default";
    /// Zone of this instance.
    zone: String = "default";
    /// Weight of this instance for load balancing, from 1 to 1000.
    weight: u32 = "1";
    /// Most requests that gateways have in flight at this instance; `concurrency_max` bounds what the instance itself serves.
    max_connections: u32 = "1000";
    /// Most open client connections; a sixteenth as many again is reserved for operators and health checks. Unset: what the limit on file descriptors allows, at most 10000.
    max_open_connections: Option<u32> = "";

    /// Shards: id=postgres://…, separated by commas, or a file of them; ${NAME} in a URL is replaced by an environment variable. Unset: three embedded shards.
    shards: ShardUrls = "";
    /// Most connections to each shard. Each shard must allow this times the number of instances.
    shard_connections: u32 = "16";
    /// Timeout of a shard's answer. After it the shard counts as unavailable for the request.
    shard_timeout: Duration = "800ms";
    /// Most batches of lookups in flight at each shard. Lookups that arrive meanwhile are sent together afterwards.
    shard_batches: u32 = "1";
    /// Most users or login names looked up by one query. 1: no batching.
    shard_batch_size: u32 = "64";
    /// Database that holds the topology. Unset: the first shard's.
    catalog_url: Option<PgUrl> = "";
    /// Interval at which an instance reads the topology when it has not been notified of a new one.
    topology_poll: Duration = "2s";
    /// Redis for sessions, throttle, registry and locks: redis://, redis-cluster:// or redis-sentinel://; with TLS rediss://, rediss-cluster:// or rediss-sentinel://. Unset: embedded storage.
    redis_url: Option<RedisUrl> = "";
    /// CA certificates (PEM) to verify Redis' certificates with. Unset: those that browsers trust.
    redis_ca_file: Option<PathBuf> = "";
    /// Redis replicas that must have the end of a session before it is acknowledged. 0: only the primary.
    redis_wait_replicas: u32 = "0";
    /// Most batches of session reads in flight in Redis. Reads that arrive meanwhile are sent together afterwards.
    session_batches: u32 = "2";
    /// Most sessions read by one command. 1: no batching. A Cluster is never batched.
    session_batch_size: u32 = "64";
    /// Directory of embedded storage.
    data_dir was data: PathBuf = "./symbolon-data";
    /// Partitioning strategy of new storage: consistent_hash, hash, range or directory. Existing storage keeps its own.
    strategy: Strategy = "consistent_hash";
    /// For strategy range: keys at which the second and further shards begin, separated by commas.
    split_points: List = "";
    /// For strategy directory: key=shard, separated by commas.
    pins: Pairs = "";

    /// Time after which an unused session ends.
    session_idle_timeout was session_idle: Duration = "1h";
    /// Time after which a session ends in any case.
    session_lifetime: Duration = "30d";
    /// Most sessions of a user; the oldest end first.
    session_limit: u32 = "100";
    /// Origin under which browsers reach the service, such as `https://login.example.com`. Unset: no cookies.
    public_origin: Option<PublicOrigin> = "";
    /// Proxies whose X-Forwarded-For header is trusted: addresses and networks, separated by commas.
    trusted_proxies: Networks = "";
    /// Who may register users: public or operator.
    registration: Registration = "public";

    /// Memory of one password hash, in KiB (argon2id parameter m).
    argon2_memory_kib was hash_memory_kib: u32 = "19456";
    /// Iterations of one password hash (argon2id parameter t).
    argon2_iterations was hash_passes: u32 = "2";
    /// Parallelism of one password hash (argon2id parameter p).
    argon2_parallelism was hash_lanes: u32 = "1";
    /// Threads that hash passwords, each with memory of its own. 0: one fewer than there are cores, at least one.
    hash_threads: u32 = "0";
    /// Longest wait of a login for its password to be hashed.
    hash_queue_timeout was hash_deadline: Duration = "2s";
    /// Whether password checks, logins, registrations and wrong operator tokens are throttled: on or off.
    throttle: bool = "on";
    /// Password checks for one login name from one address, as tries/time.
    throttle_name_address: Limit = "10/15m";
    /// Password checks from one address (IPv6: one /64), as tries/time.
    throttle_address: Limit = "100/15m";
    /// Password checks for one login name from all addresses, as tries/time.
    throttle_name: Limit = "1000/15m";
    /// Successful logins from one address (IPv6: one /64), as tries/time.
    throttle_logins: Limit = "1000/15m";
    /// Registrations from one address (IPv6: one /64), successful or not, as tries/time. Operators are exempt.
    throttle_registrations: Limit = "100/1h";
    /// Wrong operator tokens from one address (IPv6: one /64), as tries/time, per instance and gateway. A right token is always accepted.
    throttle_operator: Limit = "30/1m";

    /// Whether requests beyond the concurrency limit are refused with 503: on or off.
    admission: bool = "on";
    /// Lower bound of the adaptive limit on requests served at a time; for logins at least 128.
    concurrency_min was admission_min: u32 = "16";
    /// Upper bound of the adaptive limit on requests served at a time. Logins have a limit of their own with the same bound.
    concurrency_max was admission_max: u32 = "1000";
    /// Timeout of a request.
    request_timeout: Duration = "30s";
    /// Timeout of a request's head, including the first one of a connection.
    header_timeout: Duration = "10s";
    /// Timeout of a request's body; through the gateway, of each 16 KiB of it.
    body_timeout: Duration = "20s";
    /// Time that a client has to receive a response, or each 64 KiB of a larger one.
    send_timeout: Duration = "60s";
    /// Time after which an HTTP/2 connection without requests is closed.
    http2_idle_timeout: Duration = "60s";
    /// Time that a stopping instance still accepts new requests, so that gateways and probes notice that it leaves.
    drain_delay: Duration = "1s";
    /// Time that requests in flight have to end after a stop signal.
    drain_timeout: Duration = "30s";
    /// Largest request body, in bytes.
    body_limit: u32 = "65536";
    /// Origins whose pages may call the API, separated by commas; * for all. Unset: none.
    cors_origins: List = "";

    /// Load-balancing algorithm of the gateway: peak_ewma, round_robin, weighted_round_robin, least_connections, least_response_time, hash, geographic or health_based.
    gateway_algorithm: Algorithm = "peak_ewma";
    /// Key of algorithm hash: user (of the session token), or the name of a header. Requests without it are hashed by client address.
    gateway_hash_by: HashBy = "user";
    /// Header with the caller's region. Unset or absent: the gateway's region.
    gateway_region_header: Option<HeaderName> = "";
    /// Header with the caller's zone. Unset or absent: the gateway's zone.
    gateway_zone_header: Option<HeaderName> = "";
    /// Whether the gateway uses cleartext HTTP/2 to nodes: on or off.
    gateway_http2: bool = "off";
    /// Timeout of a node's response head, including the request's body, and of each pause in its response.
    gateway_timeout: Duration = "60s";
    /// Timeout of connecting to a node.
    gateway_connect_timeout: Duration = "1s";
    /// Time after which the gateway closes an unused connection to a node; keep it shorter than the nodes' header_timeout.
    gateway_idle_timeout: Duration = "5s";
    /// Retry budget: requests that may be repeated on another node, in percent of all; ten a second in any case.
    gateway_retry_percent: u32 = "20";
    /// Path of the health check; its status decides whether a node is healthy.
    health_check_path was check_path: CheckPath = "/v1/health/ready";
    /// Interval between health checks of a node.
    health_check_interval was check_interval: Duration = "1s";
    /// Timeout of a health check.
    health_check_timeout was check_timeout: Duration = "1s";
    /// Consecutive failures after which a node is unhealthy.
    health_check_fall was check_fall: u32 = "2";
    /// Consecutive successes after which a node is healthy again.
    health_check_rise was check_rise: u32 = "2";

    /// Interval at which the resources of the container or machine are measured.
    monitor_interval: Duration = "5s";
    /// Whether the tuner adjusts its knobs when resources run short: on or off.
    tuner: bool = "on";
    /// Interval between tuning cycles.
    tuner_interval: Duration = "60s";
    /// Rules in addition to those for cpu, memory and disk, separated by commas, such as `waits: cpu_pressure > 25 -> hashing_concurrency`.
    tuner_rules: TunerRules = "";
    /// Scaling policy: demand or threshold.
    scaling_policy: PolicyName = "demand";
    /// Fewest instances.
    scaling_min: u32 = "2";
    /// Most instances.
    scaling_max: u32 = "10";
    /// Target CPU utilization of an instance, in percent.
    scaling_target: u32 = "70";
    /// Cores of an instance. Unset: its container's limit, or all of the machine's.
    scaling_cores: Option<Cores> = "";
    /// Time from an instance's start until it takes requests; policy demand looks this far ahead. Unset: 60s, or 5s where a gateway runs the instances.
    scaling_startup: Option<Duration> = "";
    /// For policy threshold: cooldown after a scaling change.
    scaling_cooldown: Duration = "5m";
    /// For policy threshold: rules that ask for an instance: cpu, memory, response_time, or such as `crowded=utilization>0.7`, separated by commas.
    scaling_rules: ScalingRules = "";
    /// Log filter, such as info or symbolon=debug,warn.
    log: String = "info,sqlx=warn";
    /// Log format: text or json.
    log_format: LogFormat = "text";
}

impl Settings {
    /// How keys are placed on storage that does not exist yet.
    pub fn placement_spec(&self) -> PartitionerSpec {
        let embedded = || crate::topology::EMBEDDED_SHARDS.map(Node::new).to_vec();
        let node = |shard: &ShardUrl| Node { id: shard.id.clone(), weight: shard.weight };
        let configured: Vec<Node> = self.shards.0.iter().map(node).collect();
        PartitionerSpec {
            strategy: self.strategy,
            nodes: if configured.is_empty() { embedded() } else { configured },
            splits: self.split_points.0.clone(),
            pins: self.pins.0.clone(),
        }
    }

    /// Whether all storage is embedded.
    pub fn is_embedded(&self) -> bool {
        self.shards.0.is_empty() && self.redis_url.is_none()
    }
}

#[cfg(test)]
mod tests;
