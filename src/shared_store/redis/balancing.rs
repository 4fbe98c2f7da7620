//! Load-balancing settings of operators: one hash, in which removed instances have an empty record, and a sorted set of the
//! times at which they were removed.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use symbolon_balancer::Algorithm;

use super::{keys, store::RedisSharedStore};
use crate::{
    shared_store::{BalancerControl, Balancing, NodeRecord},
    store_error::StoreError,
};

const ALGORITHM: &str = "algorithm";
const NODE: &str = "node:";

/// Time for which a removed instance that has left is remembered.
pub(super) const REMOVED_TTL: Duration = Duration::from_secs(24 * 3600);

fn field(id: &str) -> String {
    format!("{NODE}{id}")
}

#[async_trait]
impl BalancerControl for RedisSharedStore {
    async fn balancing(&self) -> Result<Balancing, StoreError> {
        let fields: HashMap<String, String> = self.command("HGETALL", &[&keys::balancing()]).await?;
        let mut balancing =
            Balancing { algorithm: fields.get(ALGORITHM).and_then(|name| name.parse().ok()), ..Balancing::default() };
        for (field, record) in &fields {
            let Some(id) = field.strip_prefix(NODE) else { continue };
            if record.is_empty() {
                balancing.removed.insert(id.to_owned());
            } else {
                let record = serde_json::from_str(record).map_err(|error| self.corrupt("node", error))?;
                balancing.added.insert(id.to_owned(), record);
            }
        }
        Ok(balancing)
    }

    async fn set_algorithm(&self, algorithm: Option<Algorithm>) -> Result<(), StoreError> {
        let key = keys::balancing();
        match algorithm {
            Some(algorithm) => self.command("HSET", &[&key, ALGORITHM, algorithm.name()]).await,
            None => self.command("HDEL", &[&key, ALGORITHM]).await,
        }
    }

    async fn add_node(&self, node: &NodeRecord) -> Result<(), StoreError> {
        let record = serde_json::to_string(node).map_err(|error| self.corrupt("node", error))?;
        self.command("HSET", &[&keys::balancing(), &field(&node.id), &record]).await
    }

    async fn remove_node(&self, id: &str, is_instance: bool) -> Result<bool, StoreError> {
        let kind = if is_instance { "instance" } else { "added" };
        let arguments = vec![field(id), kind.to_owned(), id.to_owned()];
        Ok(self.run::<u64>(&self.scripts.remove_node, vec![keys::balancing(), keys::removed()], arguments).await? > 0)
    }

    async fn readmit_node(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.run::<u64>(&self.scripts.readmit_node, vec![keys::balancing()], vec![field(id)]).await? > 0)
    }
}
