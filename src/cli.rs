//! The `symbolon` command line. `serve` is the default command.

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

/// Exit code for wrong arguments and settings, the same as clap's.
const EXIT_USAGE: u8 = 2;

/// Parses the command line and runs the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // New files are readable by this user only, in any directory.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let matches = command().get_matches_from(with_default_command(arguments.into_iter().collect()));
    let result = match matches.subcommand() {
        Some(("partition", matches)) => parse(matches).and_then(|arguments| partition::run(&arguments)),
        Some(("simulate", matches)) => parse(matches).and_then(|arguments| simulate::run(&arguments)),
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
            if error.is::<crate::config::ConfigError>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Inserts `serve` if no command is given.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    const GLOBAL_FLAGS: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned());
    let has_command = first.is_some_and(|first| !first.starts_with('-') || GLOBAL_FLAGS.contains(&first.as_str()));
    if !has_command {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

fn command() -> Command {
    Command::new("symbolon")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Login, sessions and preferences on sharded storage. The default command is serve.")
        .subcommand_required(true)
        .subcommand(with_settings(Command::new("serve").about("Run an instance of the service")).arg(spawned_flag()))
        .subcommand(with_settings(gateway::command()))
        .subcommand(simulate::Arguments::augment_args(
            Command::new("simulate")
                .about("Simulate load balancing or autoscaling, without servers")
                .subcommand_required(true),
        ))
        .subcommand(users::command())
        .subcommand(partition::Arguments::augment_args(
            Command::new("partition").about("Show which node owns each key, and which keys would move"),
        ))
        .subcommand(Command::new("openapi").about("Print the OpenAPI document"))
        .subcommand(with_settings(
            Command::new("healthcheck")
                .about("Check whether the instance on this machine is ready; exit code 0 if it is, 1 if not"),
        ))
}

/// Returns the hidden flag that the gateway passes to the instances it runs.
fn spawned_flag() -> Arg {
    Arg::new("spawned").long("spawned").action(ArgAction::SetTrue).hide(true)
}

fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Settings file [default: symbolon.toml if it exists] [env: SYMBOLON_CONFIG]");
    let former_names =
        SETTINGS.iter().filter_map(|setting| setting.former_name).map(|name| setting_flag(name).hide(true));
    SETTINGS.iter().fold(command.arg(file).args(former_names), |command, setting| {
        let environment = format!("SYMBOLON_{}", setting.name.to_uppercase());
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        command.arg(setting_flag(setting.name).help(format!("{}{default} [env: {environment}]", setting.help.trim())))
    })
}

/// Returns the flag of a setting.
fn setting_flag(name: &'static str) -> Arg {
    Arg::new(name).long(name.replace('_', "-")).value_name("VALUE").value_parser(NonEmptyStringValueParser::new())
}

/// Returns the settings given as flags, under the current or former name that was used.
fn given_settings(matches: &ArgMatches) -> impl Iterator<Item = (&'static str, &String)> {
    let names = SETTINGS.iter().flat_map(|setting| [Some(setting.name), setting.former_name]).flatten();
    names.filter_map(|name| Some((name, matches.get_one::<String>(name)?)))
}

/// Prints to standard output. A reader that closed the pipe is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    is_reader_open(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(())
}

/// Returns false if the reader of the output closed the pipe, as `head` does; that is not an error.
fn is_reader_open(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

fn parse<T: FromArgMatches>(matches: &ArgMatches) -> anyhow::Result<T> {
    T::from_arg_matches(matches).map_err(|error| error.exit())
}

/// Reads the settings from file, environment and flags, and starts the log.
fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let file = matches.get_one::<PathBuf>("config").cloned();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let flags = given_settings(matches).map(|(name, text)| (name, text.clone()));
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
    fn the_command_line_is_valid() {
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
