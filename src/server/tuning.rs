//! The knobs of this instance: which there are, between which values, and what obeys them.

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
    tuner::{Dial, Knob, Rule, Tuner, quarter_less},
};

/// Where this instance's components read what knobs are turned to.
#[derive(Debug, Clone)]
pub(super) struct Dials {
    pub(super) hashing: HashingDials,
    pub(super) reap_interval: Dial,
    /// Those of embedded storage.
    pub(super) embedded: Option<EmbeddedDials>,
}

/// What bounds the hashing of passwords.
#[derive(Debug, Clone)]
pub(super) struct HashingDials {
    concurrency: Dial,
    memory: Dial,
    bytes_per_hash: u64,
}

/// The knobs that only embedded storage has.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedDials {
    cache_size: Dial,
    pub(super) compaction_interval: Dial,
}

/// The tuner of an instance, and the dials of its knobs.
pub(super) fn tuner(settings: &Settings, hashing: &PasswordPolicy) -> (Tuner, Dials) {
    let mut knobs = Vec::new();
    let mut knob = |name, unit, normal, relieving| {
        let (knob, dial) = Knob::new(name, unit, normal, relieving);
        knobs.push(knob);
        dial
    };
    let (threads, bytes_per_hash) = (hashing.threads as u64, u64::from(hashing.memory_kib) * 1024);
    let fewer_threads = quarter_less(threads, 1);
    let in_bytes = fewer_threads.iter().map(|threads| threads * bytes_per_hash).collect();
    let dials = Dials {
        hashing: HashingDials {
            concurrency: knob("hashing_concurrency", "hashes", threads, fewer_threads),
            memory: knob("hashing_memory", "bytes", threads * bytes_per_hash, in_bytes),
            bytes_per_hash,
        },
        reap_interval: knob("reap_interval", "seconds", REAP_EVERY_SECONDS, vec![30, 15, 5]),
        embedded: settings.is_embedded().then(|| EmbeddedDials {
            cache_size: knob("cache_size", "KiB", CACHE_KIB, vec![1000, 500, 250]),
            compaction_interval: knob("compaction_interval", "seconds", COMPACT_EVERY_SECONDS, vec![600, 60]),
        }),
    };
    let rules = Rule::of_the_seed().into_iter().chain(settings.tuner_rules.0.iter().cloned()).collect();
    (Tuner::new(settings.tuner, settings.tuner_interval, knobs, rules), dials)
}

/// Has the hashing of passwords keep to its dials, until stopped.
pub(super) async fn bound_hashing(passwords: Arc<Passwords>, mut dials: HashingDials, stop: CancellationToken) {
    loop {
        let buffers = dials.memory.get() / dials.bytes_per_hash.max(1);
        passwords.resize(dials.concurrency.get() as usize, buffers as usize);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = dials.concurrency.turned() => {}
            _ = dials.memory.turned() => {}
        }
    }
}

/// Has the caches of embedded storage keep to their dial, until stopped.
pub(super) async fn bound_caches(files: Vec<Arc<Database>>, mut dials: EmbeddedDials, stop: CancellationToken) {
    loop {
        let kib = tokio::select! {
            () = stop.cancelled() => return,
            kib = dials.cache_size.turned() => kib,
        };
        for file in &files {
            if let Err(error) = file.set_cache(kib).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a cache was not resized everywhere");
            }
        }
    }
}

/// Has the tuner do as operators want, and as the settings say where they want nothing, until stopped.
pub(super) async fn follow_switch(app: App, mut views: watch::Receiver<Arc<FleetView>>, stop: CancellationToken) {
    loop {
        let (known, wanted) = {
            let view = views.borrow_and_update();
            (view.as_of.is_some(), view.tuning.unwrap_or(app.settings().tuner))
        };
        if known {
            app.tuner().set_enabled(wanted, app.monitor(), Timestamp::now());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return stop.cancelled().await },
        }
    }
}
