//! The command line: `serve` (the default), `gateway`, `users`, `partition`, `simulate`, `openapi`, `healthcheck`.

mod gateway;
mod healthcheck;
mod openapi;
mod partition;
mod serve;
mod simulate;
mod stop;
mod users;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::NonEmptyStringValueParser, value_parser,
};

use crate::config::{Layers, SETTINGS, Settings};

/// The exit code for wrong usage and settings (as clap's, and `EX_USAGE` of old).
const USAGE: u8 = 2;

/// Parses the command line and runs what it asks for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What is stored is for this user only, whatever directory it is put into.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let matches = command().get_matches_from(with_default_command(arguments.into_iter().collect()));
    let result = match matches.subcommand() {
        Some(("partition", matches)) => parsed(matches).and_then(|arguments| partition::run(&arguments)),
        Some(("simulate", matches)) => parsed(matches).and_then(|arguments| simulate::run(&arguments)),
        Some(("users", matches)) => users::run(matches),
        Some(("openapi", _)) => openapi::run(),
        Some(("healthcheck", matches)) => settings(matches).and_then(|settings| healthcheck::run(&settings)),
        Some(("gateway", matches)) => settings(matches).and_then(|settings| gateway::run(matches, settings)),
        Some(("serve", matches)) => {
            settings(matches).and_then(|settings| serve::run(settings, matches.get_flag("spawned")))
        }
        _ => unreachable!("clap accepts no other command"),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("symbolon: {error:#}");
            if error.is::<crate::config::ConfigError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Puts `serve` where no command is named.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    const OF_NO_COMMAND: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned());
    let named = first.is_some_and(|first| !first.starts_with('-') || OF_NO_COMMAND.contains(&first.as_str()));
    if !named {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

/// The whole command line, for parsing and for help.
fn command() -> Command {
    Command::new("symbolon")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Login, sessions and preferences on sharded storage. Without a command: serve.")
        .subcommand_required(true)
        .subcommand(with_settings(Command::new("serve").about("Run an instance of the service")).arg(spawned()))
        .subcommand(with_settings(gateway::command()))
        .subcommand(simulate::Arguments::augment_args(
            Command::new("simulate").about("Show what would happen, without servers").subcommand_required(true),
        ))
        .subcommand(users::command())
        .subcommand(partition::Arguments::augment_args(
            Command::new("partition").about("Show on which node keys live, and which would move"),
        ))
        .subcommand(Command::new("openapi").about("Print the OpenAPI document"))
        .subcommand(with_settings(
            Command::new("healthcheck").about("Ask the instance on this machine whether it is ready; exit 0 if it is"),
        ))
}

/// For instances that a gateway runs.
fn spawned() -> Arg {
    Arg::new("spawned").long("spawned").action(ArgAction::SetTrue).hide(true)
}

fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("A file of settings [default: symbolon.toml if it is there] [env: SYMBOLON_CONFIG]");
    let former = SETTINGS.iter().filter_map(|setting| setting.former_name).map(|name| value(name).hide(true));
    SETTINGS.iter().fold(command.arg(file).args(former), |command, setting| {
        let environment = format!("SYMBOLON_{}", setting.name.to_uppercase());
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        command.arg(value(setting.name).help(format!("{}{default} [env: {environment}]", setting.help.trim())))
    })
}

/// The flag of a setting.
fn value(name: &'static str) -> Arg {
    Arg::new(name).long(name.replace('_', "-")).value_name("VALUE").value_parser(NonEmptyStringValueParser::new())
}

/// The settings that were given as flags, by the names that they were given by.
fn given(matches: &ArgMatches) -> impl Iterator<Item = (&'static str, &String)> {
    let names = SETTINGS.iter().flat_map(|setting| [Some(setting.name), setting.former_name]).flatten();
    names.filter_map(|name| Some((name, matches.get_one::<String>(name)?)))
}

/// Prints to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    read_on(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(())
}

/// Whether whoever reads the output still does; having read enough is no failure.
fn read_on(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

fn parsed<T: FromArgMatches>(matches: &ArgMatches) -> anyhow::Result<T> {
    T::from_arg_matches(matches).map_err(|error| error.exit())
}

/// The settings from every layer.
fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let file = matches.get_one::<PathBuf>("config").cloned();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let flags = given(matches).map(|(name, text)| (name, text.clone()));
    let layers = Layers::collect(file, environment, flags)?;
    let settings = Settings::read(&layers)?;
    crate::log::start(&settings.log, settings.log_format)?;
    for warning in layers.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(arguments: &[&str]) -> Vec<String> {
        with_default_command(arguments.iter().map(OsString::from).collect())
            .into_iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        assert_eq!(inserted(&["symbolon"]), ["symbolon", "serve"]);
        assert_eq!(inserted(&["symbolon", "--listen", "x"]), ["symbolon", "serve", "--listen", "x"]);
        assert_eq!(inserted(&["symbolon", "openapi"]), ["symbolon", "openapi"]);
        assert_eq!(inserted(&["symbolon", "--help"]), ["symbolon", "--help"]);
    }
}
