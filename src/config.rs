//! Settings: defaults < `symbolon.toml` < `SYMBOLON_*` < flags, under one flat name each, checked once at start.
//!
//! The table below is the only place that knows a setting: its documentation is the help text of its flag, and its type
//! says what is accepted. A wrong value stops the start with a message that names the setting and where it came from.

mod checks;
mod hash_by;
mod layers;
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
pub use store_url::{PgUrl, RedisUrl};
pub use value::{
    CheckPath, Cores, List, Networks, OperatorTokens, Pairs, PublicOrigin, Registration, ScalingRules, SettingValue,
    TunerRules,
};

pub use shards::{ShardUrl, ShardUrls};

use crate::{log::LogFormat, throttle::Limit};

/// A setting, as `--help` and `docs/configuration.md` show it.
#[derive(Debug, Clone, Copy)]
pub struct SettingInfo {
    /// Its flat name; `SYMBOLON_` + upper case in the environment, dashes for underscores as a flag.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Its default, as text; empty where there is none.
    pub default: &'static str,
}

/// One or more settings that are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:literal;)*) => {
        /// Every setting, checked.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        /// Every setting in the order of the documentation.
        pub static SETTINGS: &[SettingInfo] = &[
            $(SettingInfo { name: stringify!($name), help: concat!($($doc),*), default: $default },)*
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
    /// The address that the service listens on.
    listen: SocketAddr = "127.0.0.1:8080";
    /// An address of its own for the operator endpoints. Unset: they share the service's.
    operator_listen: Option<SocketAddr> = "";
    /// Tokens that open the operator endpoints, separated by commas. Unset on embedded storage: one is made in the data directory.
    operator_token: OperatorTokens = "";
    /// Where others reach this instance. Unset: http:// and the listening address.
    advertise_url: Option<String> = "";
    /// The name of this instance, unique in the fleet. Unset: a random one.
    instance_id: Option<String> = "";
    /// The region that this instance runs in.
    region: String = "default";
    /// The zone that this instance runs in.
    zone: String = "default";
    /// This instance's share of the traffic relative to others, from 1 to 1000.
    weight: u32 = "1";
    /// The most requests that this instance takes at a time, for balancing.
    max_connections: u32 = "1000";
    /// Client connections that may be open; a sixteenth as many again is kept for operators and health checks. Unset: as many as the limit on file descriptors has room for, at most 10000.
    max_open_connections: Option<u32> = "";

    /// The shards: id=postgres://…, separated by commas, or a file of them; ${NAME} in a URL stands for an environment variable. Unset: three embedded ones.
    shards: ShardUrls = "";
    /// The most connections to each shard. Each shard must allow this times the number of instances.
    shard_connections: u32 = "16";
    /// How long a request may wait for a shard's answer; after that it is told that the shard is unavailable.
    shard_timeout: Duration = "800ms";
    /// How many batches of lookups may be under way at a time at each shard: while so many are, those that come wait, and leave together.
    shard_batches: u32 = "1";
    /// The most users or login names that are looked up by one query. 1: every request makes a query of its own.
    shard_batch_size: u32 = "64";
    /// The database that holds the topology. Unset: the first shard's.
    catalog_url: Option<PgUrl> = "";
    /// How often an instance reads the topology where nothing tells it that there is a new one.
    topology_poll: Duration = "2s";
    /// Redis for sessions, throttle, registry and locks: redis://, redis-cluster:// or redis-sentinel://; with TLS rediss://, rediss-cluster:// or rediss-sentinel://. Unset: embedded.
    redis_url: Option<RedisUrl> = "";
    /// CA certificates (PEM) that Redis' certificates are checked with. Unset: those that browsers trust.
    redis_ca_file: Option<PathBuf> = "";
    /// How many replicas of Redis must have the end of a session before it is acknowledged. 0: the primary is enough.
    redis_wait_replicas: u32 = "0";
    /// How many batches of session reads may be under way at a time in Redis: while so many are, those that come wait, and leave together.
    session_batches: u32 = "2";
    /// The most sessions that are read by one command. 1: every request sends one of its own. In a Cluster all do.
    session_batch_size: u32 = "64";
    /// The directory of embedded storage.
    data: PathBuf = "./symbolon-data";
    /// How keys are placed on new storage: consistent_hash, hash, range or directory. Storage keeps what it started with.
    strategy: Strategy = "consistent_hash";
    /// For strategy range: the keys at which the second and further shards begin, separated by commas.
    split_points: List = "";
    /// For strategy directory: key=shard, separated by commas.
    pins: Pairs = "";

    /// How long a session lives without use.
    session_idle: Duration = "1h";
    /// How long a session lives at most.
    session_lifetime: Duration = "30d";
    /// How many sessions a user has at most; the oldest give way.
    session_limit: u32 = "100";
    /// The origin under which browsers reach the service, such as `https://login.example.com`. Unset: no cookies.
    public_origin: Option<PublicOrigin> = "";
    /// Proxies that are believed what X-Forwarded-For says: addresses and networks, separated by commas.
    trusted_proxies: Networks = "";
    /// Who may register users: public, or operator.
    registration: Registration = "public";

    /// Memory of one password hash, in KiB (argon2id m).
    hash_memory_kib: u32 = "19456";
    /// Passes of one password hash (argon2id t).
    hash_passes: u32 = "2";
    /// Lanes of one password hash (argon2id p).
    hash_lanes: u32 = "1";
    /// How many passwords are hashed at a time, each in memory of its own that is kept. 0: one for each core but one, so that reads stay fast in a login storm.
    hash_threads: u32 = "0";
    /// How long a login may wait for its password to be hashed.
    hash_deadline: Duration = "2s";
    /// Whether password checks, logins, registrations and wrong operator tokens are throttled: on or off.
    throttle: bool = "on";
    /// Password checks for one name from one address, as tries/time.
    throttle_name_address: Limit = "10/15m";
    /// Password checks from one address (IPv6: one /64), as tries/time.
    throttle_address: Limit = "100/15m";
    /// Password checks for one name from anywhere, as tries/time.
    throttle_name: Limit = "1000/15m";
    /// Successful logins from one address (IPv6: one /64), as tries/time.
    throttle_logins: Limit = "1000/15m";
    /// Registrations from one address (IPv6: one /64), successful or not, as tries/time. Operators' are not counted.
    throttle_registrations: Limit = "100/1h";
    /// Wrong operator tokens from one address (IPv6: one /64), as tries/time, for each instance and gateway. A right one is always accepted.
    throttle_operator: Limit = "30/1m";

    /// Whether requests are refused at once, with 503, while too many are under way: on or off.
    admission: bool = "on";
    /// How many requests are let in at a time however slow they are; of logins, at least 128.
    admission_min: u32 = "16";
    /// How many requests are let in at a time however fast they are; logins have as many again.
    admission_max: u32 = "1000";
    /// How long a request may take.
    request_timeout: Duration = "30s";
    /// How long a client may take to send the head of a request, the first one of a connection included.
    header_timeout: Duration = "10s";
    /// How long a client may take to send the body of a request; through the gateway, each 16 KiB of it.
    body_timeout: Duration = "20s";
    /// How long a client may take to receive the response that is being sent to it, or each 64 KiB of a larger one.
    send_timeout: Duration = "60s";
    /// How long an HTTP/2 connection may be open without a request.
    http2_idle_timeout: Duration = "60s";
    /// How long a stopping instance still takes new requests while it tells the fleet and its probes that it leaves.
    drain_delay: Duration = "1s";
    /// How long requests under way may take to end after a stop signal.
    drain_timeout: Duration = "30s";
    /// The largest request body, in bytes.
    body_limit: u32 = "65536";
    /// Origins whose pages may call the API, separated by commas; * for all. Unset: none.
    cors_origins: List = "";

    /// By what the gateway picks a node: peak_ewma, round_robin, weighted_round_robin, least_connections, least_response_time, hash, geographic or health_based.
    gateway_algorithm: Algorithm = "peak_ewma";
    /// What keeps requests on one node with algorithm hash: user (whose token it is), or the name of a header. Without either: the client's address.
    gateway_hash_by: HashBy = "user";
    /// A header that says in which region a caller is. Unset, or without it: the gateway's.
    gateway_region_header: Option<HeaderName> = "";
    /// A header that says in which zone a caller is. Unset, or without it: the gateway's.
    gateway_zone_header: Option<HeaderName> = "";
    /// Whether the gateway speaks HTTP/2 with nodes, without TLS: on or off.
    gateway_http2: bool = "off";
    /// How long a node may take to begin its answer, the request's body included, and then to send nothing.
    gateway_timeout: Duration = "60s";
    /// How long it may take the gateway to connect with a node.
    gateway_connect_timeout: Duration = "1s";
    /// How long the gateway keeps an unused connection with a node; shorter than the nodes' header_timeout.
    gateway_idle_timeout: Duration = "5s";
    /// How many requests may be made again on another node, as a percentage of all; ten a second in any case.
    gateway_retry_percent: u32 = "20";
    /// Which path tells whether a node is well, by its status.
    check_path: CheckPath = "/v1/health/ready";
    /// How often each node is asked.
    check_interval: Duration = "1s";
    /// How long its answer may take.
    check_timeout: Duration = "1s";
    /// How many failures in a row make a node unhealthy.
    check_fall: u32 = "2";
    /// How many successes in a row make it healthy again.
    check_rise: u32 = "2";

    /// How often the resources of the container or machine are measured.
    monitor_interval: Duration = "5s";
    /// Whether the tuner turns knobs when resources run short: on or off.
    tuner: bool = "on";
    /// How often the tuner looks at what was measured.
    tuner_interval: Duration = "60s";
    /// Rules besides those for cpu, memory and disk, separated by commas, such as `waits: cpu_pressure > 25 -> hashing_concurrency`.
    tuner_rules: TunerRules = "";
    /// By what is decided how many instances there should be: demand, or threshold.
    scaling_policy: PolicyName = "demand";
    /// The least number of instances.
    scaling_min: u32 = "2";
    /// The greatest number of instances.
    scaling_max: u32 = "10";
    /// How much of its processor time an instance is meant to use, in percent.
    scaling_target: u32 = "70";
    /// How many cores an instance is meant to have. Unset: its container's limit, or all of the machine's.
    scaling_cores: Option<Cores> = "";
    /// How long an instance takes from its start until it takes requests: so far policy demand looks ahead. Unset: 60s, and 5s where a gateway runs the instances.
    scaling_startup: Option<Duration> = "";
    /// For policy threshold: how long nothing is done after a change.
    scaling_cooldown: Duration = "5m";
    /// For policy threshold: rules that ask for an instance: cpu, memory, response_time, or such as `crowded=utilization>0.7`, separated by commas.
    scaling_rules: ScalingRules = "";
    /// What is logged, such as info or symbolon=debug,warn.
    log: String = "info,sqlx=warn";
    /// How it is logged: text or json.
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
