//! `symbolon serve`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{app::Server, config::Settings};

/// Runs an instance until SIGTERM or SIGINT.
pub(super) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let server = tokio::select! {
        server = Server::start(settings) => server?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %server.address()?, "listening");
    announce(&server)?;
    server.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

/// The first signal asks the service to stop; a second one ends it at once.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                tracing::warn!("a second signal ends the service at once");
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Tells a person where everything is. Nobody may be listening, which does not matter.
fn announce(server: &Server) -> anyhow::Result<()> {
    let url = format!("http://{}", server.address()?);
    let mut lines = format!("Symbolon {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    lines.push_str(&format!("  API documentation   {url}/docs\n"));
    if let Some(path) = server.token_file() {
        lines.push_str(&format!("  operator token      {}\n", path.display()));
    }
    super::print(&lines)
}
