//! The atomics of nodes: the standard library's, or loom's where the model checker runs (feature `loom`).

pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
