//! `symbolon gateway`.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::stop;
use crate::{
    config::Settings,
    gateway::{GatewayServer, NodeSource, SpawnCount},
};

/// Settings that are the gateway's own, and no business of the instances that it runs.
const OWN: [&str; 8] = [
    "listen",
    "operator_listen",
    "advertise_url",
    "instance_id",
    // It tells them these itself.
    "scaling_min",
    "scaling_max",
    "scaling_cores",
    "scaling_startup",
];

/// The command, but for the settings.
pub(super) fn command() -> Command {
    let node =
        Arg::new("node").long("node").value_name("URL").action(ArgAction::Append).conflicts_with("spawn").help(
            "A node to pass requests on to, such as http://10.0.0.7:8080; several may be given. Without: the fleet",
        );
    let spawn =
        Arg::new("spawn").long("spawn").value_name("COUNT").value_parser(value_parser!(SpawnCount)).help(
            "Run so many instances on this machine: 3, or 2..10 for as many as are needed. SIGHUP replaces them all",
        );
    Command::new("gateway").about("Pass requests on to the instances of a fleet").arg(node).arg(spawn)
}

/// Runs a gateway until SIGTERM or SIGINT.
pub(super) fn run(matches: &ArgMatches, settings: Settings) -> anyhow::Result<ExitCode> {
    let source = source(matches)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings, source))
}

fn source(matches: &ArgMatches) -> anyhow::Result<NodeSource> {
    if let Some(count) = matches.get_one::<SpawnCount>("spawn") {
        return Ok(NodeSource::Spawn(*count, shared_arguments(matches)));
    }
    let Some(urls) = matches.get_many::<String>("node") else { return Ok(NodeSource::Fleet) };
    let mut known = Vec::new();
    for url in urls {
        let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        if crate::gateway::authority(&url).is_none() {
            bail!(crate::config::ConfigError(vec![format!("--node: {url:?} must be such as http://10.0.0.7:8080")]));
        }
        if known.contains(&url) {
            bail!(crate::config::ConfigError(vec![format!("--node: {url} is there twice")]));
        }
        known.push(url);
    }
    Ok(NodeSource::Addresses(known))
}

/// The settings that were given as flags, for the instances.
fn shared_arguments(matches: &ArgMatches) -> Vec<String> {
    let config = matches.get_one::<std::path::PathBuf>("config").map(|file| format!("--config={}", file.display()));
    let settings = super::given(matches)
        .filter(|(name, _)| !OWN.contains(name))
        .map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
    config.into_iter().chain(settings).collect()
}

async fn serve(settings: Settings, source: NodeSource) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop::on_signal(stop.clone())?;
    let server = tokio::select! {
        server = GatewayServer::start(settings, source) => server?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let (roll, mut hangup) = (server.roller(), signal(SignalKind::hangup())?);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            roll();
        }
    });
    let url = format!("http://{}", server.address()?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %server.address()?, "listening");
    let mut lines = format!("Symbolon {} gateway listens on {url}\n", env!("CARGO_PKG_VERSION"));
    lines.push_str(&format!("  API documentation   {url}/docs\n"));
    if let Some(path) = server.token_file() {
        lines.push_str(&format!("  operator token      {}\n", path.display()));
    }
    super::print(&lines)?;
    server.run(stop).await;
    Ok(ExitCode::SUCCESS)
}
