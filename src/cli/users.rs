//! `symbolon users`: users in and out by the million, on the stores that the settings name; no instance need run.

mod export;
mod import;
mod progress;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{parsed, settings, with_settings};
use crate::server::CommandShards;

/// The command line.
pub(super) fn command() -> Command {
    Command::new("users")
        .about("Bring users in and take them out by the million")
        .subcommand_required(true)
        .subcommand(with_settings(import::Arguments::augment_args(
            Command::new("import")
                .about("Bring users in, one JSON object a line; what is there already stays as it is"),
        )))
        .subcommand(with_settings(export::Arguments::augment_args(
            Command::new("export").about("Take all users out, as import takes them; password hashes included"),
        )))
}

/// Runs the command that was asked for.
pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("import", matches)) => with_shards(matches, import::run),
        Some(("export", matches)) => with_shards(matches, export::run),
        _ => unreachable!("clap accepts no other command"),
    }
}

fn with_shards<A: FromArgMatches>(
    matches: &ArgMatches,
    command: impl AsyncFnOnce(A, &CommandShards) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let arguments = parsed(matches)?;
    let settings = settings(matches)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stores = CommandShards::open(&settings).await?;
        let result = command(arguments, &stores).await;
        stores.shards.close().await;
        result
    })
}
