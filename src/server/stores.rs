//! Opening what instances share: Postgres shards and Redis, or embedded storage, which is SQLite files in one directory,
//! shared by the processes of the machine.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use symbolon_batcher::BatchLimits;

use crate::{
    config::{OperatorTokens, PgUrl, SettingValue, Settings, ShardUrl},
    descriptors::TooFewDescriptors,
    fleet, secret,
    shards::{
        ShardStore, Shards,
        catalog::{self, Catalog, RefreshError, UnfitTopology},
        postgres::{PgShard, PrepareError, ShardLimits},
        sqlite::{OpenShardError, SqliteShard},
    },
    shared_store::{
        SharedStore,
        redis::{ConnectError, Hints, RedisSharedStore},
        sqlite::SqliteSharedStore,
    },
    sqlite::{Database, OpenError},
    topology::{self, EMBEDDED_SHARDS, FIRST_EPOCH, postgres::PgCatalog, sqlite::CatalogError},
};

/// How long a start waits for Redis before it goes on without.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);

/// What is said of a URL that leaves TLS to chance.
const UNPROTECTED: &str = "the URL does not say sslmode: without TLS where the server offers none, and with any \
                           certificate where it does; sslmode=verify-full protects the connection";

/// The file that an operator token is made into if none is configured.
const TOKEN_FILE: &str = "operator-token";

/// What stops a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More connections than there are file descriptors for.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The data directory can't be made or used.
    #[error("data_dir: cannot use {}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of embedded storage that was there is gone.
    #[error(
        "data_dir: {} is missing, and what it held with it; it is not made anew: put it back, from a backup if need be, or use \
         another data directory to begin without any users",
        path.display()
    )]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// The stored topology does not go with the settings.
    #[error(transparent)]
    Topology(#[from] UnfitTopology),
    /// The topology can't be read.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// No shard is known that could hold the catalog.
    #[error("shards: there are none")]
    NoShards,
    /// A shard's URL.
    #[error("shards, catalog_url: a URL can't be used")]
    ShardUrl(#[source] sqlx::Error),
    /// A shard can't be used, or belongs to another shard.
    #[error("shards: {0}")]
    Unprepared(#[source] PrepareError),
    /// How to connect with Redis.
    #[error(transparent)]
    Redis(#[from] ConnectError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A shard.
    #[error(transparent)]
    Shard(#[from] OpenShardError),
    /// The shared store.
    #[error(transparent)]
    Shared(#[from] OpenError),
    /// Settings that contradict each other.
    #[error(transparent)]
    Settings(#[from] crate::config::ConfigError),
    /// Hashing parameters.
    #[error("argon2_memory_kib, argon2_iterations, argon2_parallelism: {0}")]
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
    pub(super) shards: OpenShards,
    pub(super) shared: Arc<dyn SharedStore>,
    /// The files of embedded storage, those of shards and of the shared store.
    pub(super) files: Vec<Arc<Database>>,
    /// Hints of a new topology, where there are any to hear.
    pub(super) hints: Option<Hints>,
    pub(super) operator_tokens: OperatorTokens,
    /// Where the operator token is, if it was made here.
    pub(super) token_file: Option<PathBuf>,
}

/// Opens or creates what the settings name. Processes that start at once agree.
pub(super) async fn open(settings: &Settings) -> Result<Stores, StartError> {
    let shards = open_shards(settings, settings.shard_timeout).await?;
    if let Some(catalog) = &shards.catalog {
        match catalog.refresh().await {
            Ok(()) => {}
            Err(RefreshError::Unfit(error)) => return Err(error.into()),
            Err(RefreshError::Unavailable(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no shard is used before the catalog has answered"
                );
            }
        }
    }
    let Shared { store, file, hints, operator_tokens, token_file } = open_shared(settings).await?;
    let hints = hints.filter(|_| shards.catalog.is_some());
    let files = shards.files.iter().cloned().chain(file).collect();
    Ok(Stores { shards, shared: store, files, hints, operator_tokens, token_file })
}

/// What the fleet shares besides the shards.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn SharedStore>,
    /// Its file, if it is embedded.
    pub(crate) file: Option<Arc<Database>>,
    /// Hints of a new topology, where there are any to hear.
    pub(crate) hints: Option<Hints>,
    pub(crate) operator_tokens: OperatorTokens,
    /// Where the operator token is, if it was made here.
    pub(crate) token_file: Option<PathBuf>,
}

/// Opens or creates the shared store that the settings name.
pub(crate) async fn open_shared(settings: &Settings) -> Result<Shared, StartError> {
    if settings.redis_url.is_none() {
        make_data_directory(&settings.data_dir)?;
    }
    let (mut hints, mut file) = (None, None);
    let store: Arc<dyn SharedStore> = match &settings.redis_url {
        Some(url) => {
            let redis = RedisSharedStore::connect(
                url.reveal(),
                settings.redis_ca_file.as_deref(),
                settings.redis_wait_replicas,
                BatchLimits {
                    max_in_flight: settings.session_batches as usize,
                    max_keys: settings.session_batch_size as usize,
                },
            )?;
            if redis.answers_within(REDIS_PATIENCE).await {
                fleet::time::begin(&redis).await;
            } else {
                tracing::warn!("Redis does not answer yet; it is tried again");
            }
            redis.warn_of_risks().await;
            hints = Some(redis.hints());
            Arc::new(redis)
        }
        None => {
            let embedded = SqliteSharedStore::open(&settings.data_dir.join("shared.sqlite")).await?;
            file = Some(Arc::clone(embedded.database()));
            Arc::new(embedded)
        }
    };
    let (operator_tokens, token_file) = operator_tokens(settings)?;
    Ok(Shared { store, file, hints, operator_tokens, token_file })
}

/// The shards that the settings name.
pub(super) struct OpenShards {
    pub(super) shards: Shards,
    /// The files of embedded shards.
    pub(super) files: Vec<Arc<Database>>,
    /// The catalog to follow; embedded shards keep the topology they started with.
    pub(super) catalog: Option<Arc<Catalog>>,
    /// Shards that are still to be prepared for use.
    pub(super) unprepared: Vec<Arc<PgShard>>,
}

/// The shards that the settings name; those on PostgreSQL have not been spoken with yet, and are given `timeout` for each
/// request.
pub(super) async fn open_shards(settings: &Settings, timeout: Duration) -> Result<OpenShards, StartError> {
    if settings.shards.0.is_empty() {
        make_data_directory(&settings.data_dir)?;
        let (shards, files) = embedded_shards(settings).await?;
        Ok(OpenShards { shards, files, catalog: None, unprepared: Vec::new() })
    } else {
        pg_shards(settings, timeout)
    }
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

async fn embedded_shards(settings: &Settings) -> Result<(Shards, Vec<Arc<Database>>), StartError> {
    let data = &settings.data_dir;
    let configured = settings.placement_spec();
    let catalog = data.join("catalog.sqlite");
    let names = EMBEDDED_SHARDS.map(|id| format!("{id}.sqlite"));
    let noted = present_files(data, &catalog, &names).await?;
    let topology = topology::sqlite::load_or_create(&catalog, &configured).await?;
    let mut stores: Vec<(String, Arc<dyn ShardStore>)> = Vec::new();
    let mut files = Vec::new();
    for (id, name) in EMBEDDED_SHARDS.into_iter().zip(&names) {
        let path = data.join(name);
        let shard = SqliteShard::open(id, &path, FIRST_EPOCH).await?;
        files.push(Arc::clone(shard.database()));
        stores.push((id.to_owned(), Arc::new(shard)));
    }
    if names.iter().any(|name| !noted.contains(name)) {
        topology::sqlite::note_files(&catalog, &names).await?;
    }
    let shards = Shards::new(stores);
    catalog::adopt(&shards, &topology, &configured)?;
    Ok((shards, files))
}

/// The names of the files that were there before. A shard's file among them, or the catalog beside one, must still be there: a
/// new one would be empty.
async fn present_files(data: &Path, catalog: &Path, names: &[String]) -> Result<BTreeSet<String>, StartError> {
    // The catalog is made before the shards, also by a process that starts at the same time: so it is looked for last.
    let has_shards = names.iter().any(|name| data.join(name).exists());
    if !catalog.exists() {
        let missing = || StartError::MissingFile { path: catalog.to_owned() };
        return if has_shards { Err(missing()) } else { Ok(BTreeSet::new()) };
    }
    let noted = topology::sqlite::noted_files(catalog).await?;
    match noted.iter().map(|name| data.join(name)).find(|path| !path.exists()) {
        Some(path) => Err(StartError::MissingFile { path }),
        None => Ok(noted),
    }
}

fn pg_shards(settings: &Settings, timeout: Duration) -> Result<OpenShards, StartError> {
    let limits = ShardLimits {
        connections: settings.shard_connections,
        timeout,
        batches: BatchLimits {
            max_in_flight: settings.shard_batches as usize,
            max_keys: settings.shard_batch_size as usize,
        },
    };
    let mut unprepared = Vec::new();
    for ShardUrl { id, primary, replicas, .. } in &settings.shards.0 {
        if !replicas.is_empty() {
            tracing::warn!(shard = id, "replicas are not read from yet: all requests go to the primary");
        }
        if [primary].into_iter().chain(replicas).any(PgUrl::is_unprotected) {
            tracing::warn!(shard = id, "{UNPROTECTED}");
        }
        let options = primary.options().map_err(StartError::ShardUrl)?;
        unprepared.push(Arc::new(PgShard::new(id, options, limits)));
    }
    if settings.catalog_url.as_ref().is_some_and(PgUrl::is_unprotected) {
        tracing::warn!(setting = "catalog_url", "{UNPROTECTED}");
    }
    let shards =
        Shards::new(unprepared.iter().map(|shard| (shard.id().to_owned(), Arc::clone(shard) as Arc<dyn ShardStore>)));
    let first = settings.shards.0.first().map(|shard| &shard.primary);
    let Some(url) = settings.catalog_url.as_ref().or(first) else {
        return Err(StartError::NoShards);
    };
    let database = PgCatalog::new(url.options().map_err(StartError::ShardUrl)?);
    let catalog = Arc::new(Catalog::new(database, settings.placement_spec(), settings.topology_poll, shards.clone()));
    Ok(OpenShards { shards, files: Vec::new(), catalog: Some(catalog), unprepared })
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
    let path = settings.data_dir.join(TOKEN_FILE);
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
