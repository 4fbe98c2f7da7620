//! `symbolon serve`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::stop;
use crate::{config::Settings, server::Server};

/// Runs an instance until SIGTERM or SIGINT. An instance spawned by a gateway also stops when the gateway ends.
pub(super) fn run(settings: Settings, is_spawned: bool) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings, is_spawned))
}

async fn serve(mut settings: Settings, is_spawned: bool) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop::on_signal(stop.clone())?;
    if is_spawned {
        stop::on_stdin_closed(stop.clone());
        // Operators use the gateway, and the gateway sets `X-Forwarded-For`.
        (settings.operator_listen, settings.advertise_url) = (None, None);
        settings.trusted_proxies.trust_this_machine();
    }
    let server = tokio::select! {
        server = Server::start(settings) => server?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %server.address()?, "listening");
    announce(&server)?;
    server.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

/// Prints the address, the documentation and the token file for the person who started the instance.
fn announce(server: &Server) -> anyhow::Result<()> {
    let url = format!("http://{}", server.address()?);
    let mut lines = format!("Symbolon {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    lines.push_str(&format!("  API documentation   {url}/docs\n"));
    if let Some(path) = server.token_file() {
        lines.push_str(&format!("  operator token      {}\n", path.display()));
    }
    super::print(&lines)
}
