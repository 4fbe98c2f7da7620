//! The knobs of this instance: their ranges, and the tasks that apply their values.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::{
    clock::Timestamp,
    compaction::COMPACT_EVERY_SECONDS,
    config::Settings,
    fleet::FleetView,
    passwords::{PasswordPolicy, Passwords},
    reaper::REAP_EVERY_SECONDS,
    sqlite::{CACHE_KIB, Database},
    tuner::{Knob, Tunable, Tuner, default_rules, quarter_steps},
};

/// The reading sides of this instance's knobs.
#[derive(Debug, Clone)]
pub(super) struct Tunables {
    pub(super) hashing: HashingTunables,
    pub(super) reap_interval: Tunable,
    /// Only with embedded storage.
    pub(super) embedded: Option<EmbeddedTunables>,
}

#[derive(Debug, Clone)]
pub(super) struct HashingTunables {
    concurrency: Tunable,
    memory: Tunable,
    bytes_per_hash: u64,
}

#[derive(Debug, Clone)]
pub(super) struct EmbeddedTunables {
    cache_size: Tunable,
    pub(super) compaction_interval: Tunable,
}

/// Creates the tuner of an instance and the reading sides of its knobs.
pub(super) fn tuner(settings: &Settings, hashing: &PasswordPolicy) -> (Tuner, Tunables) {
    let mut knobs = Vec::new();
    let mut knob = |name, unit, normal, relieving| {
        let (knob, tunable) = Knob::new(name, unit, normal, relieving);
        knobs.push(knob);
        tunable
    };
    let (threads, bytes_per_hash) = (hashing.threads as u64, u64::from(hashing.memory_kib) * 1024);
    let fewer_threads = quarter_steps(threads, 1);
    let in_bytes = fewer_threads.iter().map(|threads| threads * bytes_per_hash).collect();
    let tunables = Tunables {
        hashing: HashingTunables {
            concurrency: knob("hashing_concurrency", "hashes", threads, fewer_threads),
            memory: knob("hashing_memory", "bytes", threads * bytes_per_hash, in_bytes),
            bytes_per_hash,
        },
        reap_interval: knob("reap_interval", "seconds", REAP_EVERY_SECONDS, vec![30, 15, 5]),
        embedded: settings.is_embedded().then(|| EmbeddedTunables {
            cache_size: knob("cache_size", "KiB", CACHE_KIB, vec![1000, 500, 250]),
            compaction_interval: knob("compaction_interval", "seconds", COMPACT_EVERY_SECONDS, vec![600, 60]),
        }),
    };
    let rules = default_rules().into_iter().chain(settings.tuner_rules.0.iter().cloned()).collect();
    (Tuner::new(settings.tuner, settings.tuner_interval, knobs, rules), tunables)
}

/// Applies the hashing knobs to the password pool, until stopped.
pub(super) async fn follow_hashing(passwords: Arc<Passwords>, mut tunables: HashingTunables, stop: CancellationToken) {
    loop {
        let buffers = tunables.memory.get() / tunables.bytes_per_hash.max(1);
        passwords.resize(tunables.concurrency.get() as usize, buffers as usize);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tunables.concurrency.changed() => {}
            _ = tunables.memory.changed() => {}
        }
    }
}

/// Applies the cache-size knob to embedded storage, until stopped.
pub(super) async fn follow_cache_size(
    files: Vec<Arc<Database>>,
    mut tunables: EmbeddedTunables,
    stop: CancellationToken,
) {
    loop {
        let kib = tokio::select! {
            () = stop.cancelled() => return,
            kib = tunables.cache_size.changed() => kib,
        };
        for file in &files {
            if let Err(error) = file.set_cache(kib).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cache not resized on every connection");
            }
        }
    }
}

/// Switches the tuner on or off as operators ask, or as the settings say if no operator has asked, until stopped.
pub(super) async fn follow_switch(app: App, mut views: watch::Receiver<Arc<FleetView>>, stop: CancellationToken) {
    loop {
        let (is_known, enabled) = {
            let view = views.borrow_and_update();
            (view.as_of.is_some(), view.tuning.unwrap_or(app.settings().tuner))
        };
        if is_known {
            app.tuner().set_enabled(enabled, app.monitor(), Timestamp::now());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return stop.cancelled().await },
        }
    }
}
