//! Eviction of connections to make room for new ones.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use super::{Connection, ConnectionKind, ListenerRole, Shared, Shutdown};

/// From this number of requests on, further requests do not protect a connection from eviction.
pub(super) const ESTABLISHED_REQUESTS: usize = 4;

/// One in 100 connections of the cap is evicted at once, to spread the cost of the search over several new connections.
const CONNECTIONS_PER_EVICTION: usize = 100;

impl Shared {
    /// Evicts idle connections below the cap: those with the fewest requests first, and of these the ones idle for longest, so
    /// that a flood of new connections evicts itself. Connections to the operator listener are evicted only for others to it.
    pub(super) fn evict(&self, open: &mut HashMap<u64, Arc<Connection>>, newcomer: ListenerRole) {
        let is_evictable = |connection: &&Arc<Connection>| {
            let ConnectionKind { role, is_above_cap, .. } = connection.kind();
            connection.is_idle()
                && !is_above_cap
                && (role == ListenerRole::Public || newcomer == ListenerRole::Operators)
        };
        let mut idle: Vec<(usize, u64, u64)> = open
            .values()
            .filter(is_evictable)
            .map(|connection| {
                (connection.requests().clamp(1, ESTABLISHED_REQUESTS), connection.last_progress(), connection.id())
            })
            .collect();
        let count = (self.max_open / CONNECTIONS_PER_EVICTION).max(1).min(idle.len());
        if count > 0 && count < idle.len() {
            idle.select_nth_unstable(count - 1);
        }
        idle.iter().take(count).for_each(|(_, _, id)| self.close_evicted(open, *id));
    }

    /// Evicts the oldest connection above the cap that has not proved to be an operator's; false if there is none.
    pub(super) fn evict_unprivileged(&self, open: &mut HashMap<u64, Arc<Connection>>) -> bool {
        let is_unprivileged =
            |connection: &&Arc<Connection>| connection.kind().is_above_cap && !connection.is_privileged();
        let oldest = open.values().filter(is_unprivileged).map(|connection| connection.id()).min();
        oldest.inspect(|id| self.close_evicted(open, *id)).is_some()
    }

    fn close_evicted(&self, open: &mut HashMap<u64, Arc<Connection>>, id: u64) {
        if let Some(connection) = open.remove(&id) {
            connection.shut_down(Shutdown::Immediate);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
