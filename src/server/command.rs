//! Access to all shards for a command that runs beside the service.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    StartError,
    stores::{OpenShards, open_shards},
};
use crate::{config::Settings, shards::Shards};

/// Minimum timeout of a command's requests to a shard. Commands process more rows per request than users do.
const MIN_SHARD_TIMEOUT: Duration = Duration::from_secs(10);

/// All shards, migrated and reachable. The topology is followed until this is dropped.
#[derive(Debug)]
pub struct CommandShards {
    pub shards: Shards,
    _following: DropGuard,
}

impl CommandShards {
    /// Opens the shards that the settings name, and creates their tables if they are new.
    ///
    /// # Errors
    /// Returns [`StartError`] also if a shard or the catalog does not answer.
    pub async fn open(settings: &Settings) -> Result<Self, StartError> {
        let OpenShards { shards, catalog, unprepared, .. } =
            open_shards(settings, MIN_SHARD_TIMEOUT.max(settings.shard_timeout)).await?;
        let stop = CancellationToken::new();
        if let Some(catalog) = catalog {
            catalog.refresh().await?;
            let (catalog, stop) = (Arc::clone(&catalog), stop.clone());
            tokio::spawn(async move { catalog.follow(stop).await });
        }
        let epoch = shards.wait_for_topology().await.epoch;
        for shard in unprepared {
            shard.prepare(epoch).await.map_err(StartError::Unprepared)?;
        }
        Ok(Self { shards, _following: stop.drop_guard() })
    }
}
