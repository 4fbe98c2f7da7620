//! `symbolon openapi`.

use std::process::ExitCode;

/// Prints the OpenAPI document as `openapi/openapi.json` holds it.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    super::print(&format!("{}\n", crate::http::document().to_pretty_json()?))?;
    Ok(ExitCode::SUCCESS)
}
