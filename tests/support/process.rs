//! The command under test, and processes by their ids.

use std::{path::Path, process::Stdio};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{in_time, temporary_directory};

/// The command, in `directory` and without settings of the environment; of another build where `TESTED_BINARY` names one.
pub fn symbolon(directory: &Path) -> Command {
    let binary = std::env::var_os("TESTED_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_symbolon").into());
    isolated(Command::new(binary), directory)
}

/// Has a command run in `directory`, without settings of the environment, and be killed when dropped.
pub fn isolated(mut command: Command, directory: &Path) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SYMBOLON_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).kill_on_drop(true);
    command
}

/// Runs the command to its end; returns exit code, standard output and standard error.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> (i32, String, String) {
    let directory = temporary_directory();
    let mut command = symbolon(directory.path());
    command.args(arguments).envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let feed = async move { stdin.write_all(input).await };
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let all = async {
        // A command that refuses its settings does not read its input.
        let (_, out, err, status) =
            tokio::join!(feed, stdout.read_to_string(&mut out), stderr.read_to_string(&mut err), child.wait());
        out.and(err).expect("output");
        status.expect("a status").code().expect("an exit code")
    };
    let code = in_time("the command ends", all).await;
    (code, out, err)
}

/// Sends a signal to a process that may have ended.
pub fn signal(process: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(process, signal);
}

/// The processes that a process has started and that have not ended.
pub fn children_of(process: Pid) -> Vec<Pid> {
    let process = process.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// Whether a process has ended; a zombie has.
pub fn has_ended(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
