//! Opening embedded storage: SQLite files in one directory, shared by the processes of the machine.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::{OperatorTokens, SettingValue, Settings},
    partitioner::Partitioner,
    secret,
    shards::{
        ShardStore, Shards,
        sqlite::{OpenShardError, SqliteShard},
    },
    shared_store::{SharedStore, sqlite::SqliteSharedStore},
    sqlite::OpenError,
    topology::{self, sqlite::CatalogError},
};

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
        "strategy, split_points, pins: the storage in {} was made with strategy {stored} and keeps its placement; \
         set these as they were, or use another data directory", data.display()
    )]
    Placement {
        /// The data directory.
        data: PathBuf,
        /// The strategy that it was made with.
        stored: crate::partitioner::Strategy,
    },
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

/// The stores of embedded storage.
pub(super) struct Embedded {
    pub(super) shards: Shards,
    pub(super) shared: Arc<dyn SharedStore>,
    pub(super) operator_tokens: OperatorTokens,
    /// Where the operator token is, if it was made here.
    pub(super) token_file: Option<PathBuf>,
}

/// Opens or creates everything under the data directory. Processes that start at once wait for each other.
pub(super) async fn open(settings: &Settings) -> Result<Embedded, StartError> {
    let data = &settings.data;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|source| StartError::Data { path: data.clone(), source })?;
    warn_if_open(data);

    let topology = topology::sqlite::load_or_create(&data.join("catalog.sqlite"), &settings.placement_spec()).await?;
    if topology.placement != settings.placement_spec() {
        return Err(StartError::Placement { data: data.clone(), stored: topology.placement.strategy });
    }
    let partitioner = Partitioner::new(&topology.placement).map_err(StartError::Topology)?;
    let mut stores: Vec<Arc<dyn ShardStore>> = Vec::new();
    for node in partitioner.nodes() {
        let path = data.join(format!("{}.sqlite", node.id));
        stores.push(Arc::new(SqliteShard::open(&node.id, &path, topology.epoch).await?));
    }
    let shared = Arc::new(SqliteSharedStore::open(&data.join("shared.sqlite")).await?);
    let (operator_tokens, token_file) = operator_tokens(settings)?;
    Ok(Embedded { shards: Shards::new(topology, partitioner, stores), shared, operator_tokens, token_file })
}

/// The files hold password hashes and e-mail addresses.
fn warn_if_open(data: &Path) {
    let mode = fs::metadata(data).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(data = %data.display(), "others may look into the data directory: chmod 700 it");
    }
}

fn operator_tokens(settings: &Settings) -> Result<(OperatorTokens, Option<PathBuf>), StartError> {
    if !settings.operator_token.is_empty() {
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
