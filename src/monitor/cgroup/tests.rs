//! Readings of fixture directories: versions, namespaces, nesting, and malformed or missing files.

mod fallbacks;
mod v1;
mod v2;
