//! `symbolon openapi`.

use std::process::ExitCode;

use crate::{gateway, http};

/// Prints the OpenAPI document, with the content of `openapi/openapi.json`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    super::print(&format!("{}\n", http::document(gateway::document()).to_pretty_json()?))?;
    Ok(ExitCode::SUCCESS)
}
