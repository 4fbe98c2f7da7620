//! The shards for a command that runs beside the service and needs all of them.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    StartError,
    stores::{OpenShards, open_shards},
};
use crate::{config::Settings, shards::Shards};

/// How long a shard may take for what a command asks at a time: more than for a user's request.
const PATIENCE: Duration = Duration::from_secs(10);

/// All shards, migrated and within reach; the topology is followed until this is dropped.
#[derive(Debug)]
pub struct CommandShards {
    /// The shards.
    pub shards: Shards,
    _following: DropGuard,
}

impl CommandShards {
    /// Opens the shards that the settings name, and makes them if they are new.
    ///
    /// # Errors
    /// [`StartError`] also for a shard or catalog that does not answer.
    pub async fn open(settings: &Settings) -> Result<Self, StartError> {
        let OpenShards { shards, catalog, unprepared, .. } =
            open_shards(settings, PATIENCE.max(settings.shard_timeout)).await?;
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
