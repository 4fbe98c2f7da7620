//! Opening what instances share: Postgres shards and Redis, or embedded storage, which is SQLite files in one directory,
//! shared by the processes of the machine.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sqlx::postgres::PgConnectOptions;

use crate::{
    config::{OperatorTokens, SettingValue, Settings, ShardUrl},
    partitioner::Partitioner,
    secret,
    shards::{
        ShardStore, Shards,
        postgres::{PgShard, PrepareError},
        sqlite::{OpenShardError, SqliteShard},
    },
    shared_store::{
        SharedStore,
        redis::{ConnectError, RedisSharedStore},
        sqlite::SqliteSharedStore,
    },
    sqlite::OpenError,
    topology::{self, Topology, sqlite::CatalogError},
};

/// How long a start waits for Redis before it goes on without.
const REDIS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How often a catalog that does not answer is tried again.
const CATALOG_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// The file that an operator token is made into if none is configured.
const TOKEN_FILE: &str = "operator-token";

/// What stops a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be made or used.
    #[error("data: cannot use {}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings place keys otherwise than the data does.
    #[error(
        "shards, strategy, split_points, pins: the storage was made with strategy {stored} on {nodes} and keeps its \
         placement; set these as they were, or use other storage"
    )]
    Placement {
        /// The strategy that it was made with.
        stored: crate::partitioner::Strategy,
        /// The shards that it was made with.
        nodes: String,
    },
    /// A shard's URL.
    #[error("shards, catalog_url: a URL can't be used")]
    ShardUrl(#[source] sqlx::Error),
    /// A database belongs to another shard.
    #[error("shards: {0}")]
    Mixed(#[source] PrepareError),
    /// How to connect with Redis.
    #[error(transparent)]
    Redis(#[from] ConnectError),
    /// The stored topology contradicts itself.
    #[error("the stored topology is damaged")]
    Topology(#[source] crate::partitioner::SpecError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A shard.
    #[error(transparent)]
    Shard(#[from] OpenShardError),
    /// The shared store.
    #[error(transparent)]
    Shared(#[from] OpenError),
    /// Hashing parameters.
    #[error("hash_memory_kib, hash_passes, hash_lanes: {0}")]
    Hashing(#[from] crate::passwords::InvalidPolicy),
    /// An address can't be listened on.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Everything that instances share.
pub(super) struct Stores {
    pub(super) shards: Shards,
    /// Shards that are still to be prepared for use.
    pub(super) unprepared: Vec<Arc<PgShard>>,
    pub(super) shared: Arc<dyn SharedStore>,
    pub(super) operator_tokens: OperatorTokens,
    /// Where the operator token is, if it was made here.
    pub(super) token_file: Option<PathBuf>,
}

/// Opens or creates what the settings name. Processes that start at once agree.
pub(super) async fn open(settings: &Settings) -> Result<Stores, StartError> {
    if settings.shards.0.is_empty() || settings.redis_url.is_none() {
        make_data_directory(&settings.data)?;
    }
    let (shards, unprepared) = if settings.shards.0.is_empty() {
        (embedded_shards(settings).await?, Vec::new())
    } else {
        pg_shards(settings).await?
    };
    let shared: Arc<dyn SharedStore> = match &settings.redis_url {
        Some(url) => {
            let redis = RedisSharedStore::connect(
                url.reveal(),
                settings.redis_ca_file.as_deref(),
                settings.redis_wait_replicas,
            )?;
            if redis.answers_within(REDIS_PATIENCE).await {
                redis.warn_of_risks().await;
            } else {
                tracing::warn!("Redis does not answer yet; it is tried again");
            }
            Arc::new(redis)
        }
        None => Arc::new(SqliteSharedStore::open(&settings.data.join("shared.sqlite")).await?),
    };
    let (operator_tokens, token_file) = operator_tokens(settings)?;
    Ok(Stores { shards, unprepared, shared, operator_tokens, token_file })
}

fn make_data_directory(data: &Path) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|source| StartError::Data { path: data.to_owned(), source })?;
    warn_if_open(data);
    Ok(())
}

/// The stored topology, if it is the one that the settings speak of.
fn agreed(topology: Topology, settings: &Settings) -> Result<(Topology, Partitioner), StartError> {
    if topology.placement != settings.placement_spec() {
        let nodes = topology.placement.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>().join(", ");
        return Err(StartError::Placement { stored: topology.placement.strategy, nodes });
    }
    let partitioner = Partitioner::new(&topology.placement).map_err(StartError::Topology)?;
    Ok((topology, partitioner))
}

async fn embedded_shards(settings: &Settings) -> Result<Shards, StartError> {
    let data = &settings.data;
    let topology = topology::sqlite::load_or_create(&data.join("catalog.sqlite"), &settings.placement_spec()).await?;
    let (topology, partitioner) = agreed(topology, settings)?;
    let mut stores: Vec<Arc<dyn ShardStore>> = Vec::new();
    for node in partitioner.nodes() {
        let path = data.join(format!("{}.sqlite", node.id));
        stores.push(Arc::new(SqliteShard::open(&node.id, &path, topology.epoch).await?));
    }
    Ok(Shards::new(topology, partitioner, stores))
}

async fn pg_shards(settings: &Settings) -> Result<(Shards, Vec<Arc<PgShard>>), StartError> {
    let mut shards = Vec::new();
    for ShardUrl { id, primary, replicas } in &settings.shards.0 {
        if !replicas.is_empty() {
            tracing::warn!(shard = id, "replicas are not read from yet: all requests go to the primary");
        }
        let options = primary.options().map_err(StartError::ShardUrl)?;
        shards.push(Arc::new(PgShard::new(id, options, settings.shard_connections)));
    }
    let catalog = settings.catalog_url.as_ref().or(settings.shards.0.first().map(|shard| &shard.primary));
    let topology = match catalog.map(|url| url.options()).transpose().map_err(StartError::ShardUrl)? {
        Some(options) => catalog_topology(&options, settings).await,
        None => return Err(StartError::Topology(crate::partitioner::SpecError::NoNodes)),
    };
    let (topology, partitioner) = agreed(topology, settings)?;
    let stores = shards.iter().map(|shard| Arc::clone(shard) as Arc<dyn ShardStore>).collect();
    Ok((Shards::new(topology, partitioner, stores), shards))
}

/// Without its topology an instance can't place a single key: it waits for the catalog.
async fn catalog_topology(options: &PgConnectOptions, settings: &Settings) -> Topology {
    loop {
        match topology::postgres::load_or_create(options, &settings.placement_spec()).await {
            Ok(topology) => return topology,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the catalog");
                tokio::time::sleep(CATALOG_RETRY).await;
            }
        }
    }
}

/// The files hold password hashes and e-mail addresses.
fn warn_if_open(data: &Path) {
    let mode = fs::metadata(data).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(data = %data.display(), "others may look into the data directory: chmod 700 it");
    }
}

fn operator_tokens(settings: &Settings) -> Result<(OperatorTokens, Option<PathBuf>), StartError> {
    if !settings.operator_token.is_empty() || !settings.is_embedded() {
        if settings.operator_token.is_empty() {
            tracing::warn!("operator_token is not set: the operator endpoints are open to sessions with admin only");
        }
        return Ok((settings.operator_token.clone(), None));
    }
    let path = settings.data.join(TOKEN_FILE);
    let token = read_or_make_token(&path).map_err(|source| StartError::Data { path: path.clone(), source })?;
    let invalid =
        |detail| StartError::Data { path: path.clone(), source: io::Error::new(io::ErrorKind::InvalidData, detail) };
    let tokens = OperatorTokens::from_text(token.trim()).map_err(invalid)?;
    if tokens.is_empty() {
        return Err(invalid("the file is empty; remove it to have a new token made".to_owned()));
    }
    Ok((tokens, Some(path)))
}

/// The token is written whole under another name first: a crash leaves no half of it, and of processes that start at once
/// the first to link it wins.
fn read_or_make_token(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let draft = path.with_extension(uuid::Uuid::new_v4().to_string());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, format!("symop_{}\n", secret::encode(&secret::random())).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path),
    }
}
