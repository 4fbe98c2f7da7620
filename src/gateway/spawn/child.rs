//! An instance as a child process.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdin, Command},
};

/// How instances are started and stopped.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct LaunchOptions {
    /// The `symbolon` executable.
    pub(in crate::gateway) program: PathBuf,
    /// Command-line arguments of the instances.
    pub(in crate::gateway) arguments: Vec<String>,
    /// Prefix of the instance ids, unique among the gateways of a fleet.
    pub(in crate::gateway) id_prefix: String,
    /// Whether to prefix each log line with the slot number. JSON lines must stay as they are.
    pub(in crate::gateway) prefix_log_lines: bool,
    /// Time to drain before an instance is killed.
    pub(in crate::gateway) drain_timeout: Duration,
}

/// A running instance. It stops when its standard input ends, so it does not outlive the gateway, even after SIGKILL.
pub(super) struct Child {
    id: String,
    process: tokio::process::Child,
    pid: u32,
    _stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts an instance. `restarts` is part of its id, so that each process of a slot has its own id.
    pub(super) fn start(options: &LaunchOptions, slot: u32, restarts: u32) -> io::Result<Self> {
        let id = format!("{}-{slot}.{restarts}", options.id_prefix);
        let mut process = Command::new(&options.program)
            .arg("serve")
            .args(&options.arguments)
            .args(["--spawned", "--listen", "127.0.0.1:0", "--instance-id", &id])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal must reach the gateway only. It drains itself first, then the instances.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(relay(stderr, options.prefix_log_lines.then(|| format!("[{slot}] "))));
        }
        // A process that was not waited for has an id.
        let pid = process.id().unwrap_or_default();
        let stdin = process.stdin.take();
        Ok(Self { id, process, pid, _stdin: stdin })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the process and returns its exit status as text.
    pub(super) async fn wait(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Asks the instance to drain, and kills it after `timeout`.
    pub(super) async fn drain(&mut self, timeout: Duration) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::debug!(%error, instance = self.id, "instance has already ended");
        }
        if tokio::time::timeout(timeout, self.process.wait()).await.is_err() {
            tracing::warn!(instance = self.id, "instance did not drain in time; killing it");
            if let Err(error) = self.process.kill().await {
                tracing::error!(%error, instance = self.id, "could not kill instance");
            }
        }
    }
}

/// Copies the log of an instance to standard error, line by line.
async fn relay(log: tokio::process::ChildStderr, prefix: Option<String>) {
    let mut lines = BufReader::new(log);
    let mut line = prefix.clone().unwrap_or_default().into_bytes();
    let start = line.len();
    while let Ok(1..) = lines.read_until(b'\n', &mut line).await {
        // Errors are ignored: an instance whose pipe is not read would block.
        let _ = io::stderr().write_all(&line);
        line.truncate(start);
    }
}
