//! Readings of fixture directories: versions, namespaces, nesting, and what is not as it should be.

mod fallbacks;
mod v1;
mod v2;
