//! `symbolon users` imports and exports users in bulk. It opens the configured stores itself; no instance needs to run.

mod export;
mod import;
mod progress;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{parse, settings, with_settings};
use crate::server::CommandShards;

pub(super) fn command() -> Command {
    Command::new("users")
        .about("Import and export users in bulk")
        .subcommand_required(true)
        .subcommand(with_settings(import::Arguments::augment_args(
            Command::new("import")
                .about("Import users from a file with one JSON object per line; existing users stay unchanged"),
        )))
        .subcommand(with_settings(export::Arguments::augment_args(
            Command::new("export").about("Export all users, with password hashes, in the format of import"),
        )))
}

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
    let arguments = parse(matches)?;
    let settings = settings(matches)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stores = CommandShards::open(&settings).await?;
        let result = command(arguments, &stores).await;
        stores.shards.close().await;
        result
    })
}
