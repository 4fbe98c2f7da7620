//! One instance as a child process.

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

/// How instances are started.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Launch {
    /// This program.
    pub(in crate::gateway) program: PathBuf,
    /// The settings given as flags, which instances get too.
    pub(in crate::gateway) arguments: Vec<String>,
    /// What ids begin with: unique among the gateways of a fleet.
    pub(in crate::gateway) prefix: String,
    /// Whether each line of the log is marked with the instance; not where lines are JSON.
    pub(in crate::gateway) marks_lines: bool,
    /// How long an instance is given to drain before it is killed.
    pub(in crate::gateway) drain: Duration,
}

/// A running instance. It ends when its standard input does, which is when this process ends, however it does.
pub(super) struct Child {
    id: String,
    process: tokio::process::Child,
    pid: u32,
    _leash: Option<ChildStdin>,
}

impl Child {
    /// Starts one; `restarts` makes its id differ from the one before in its slot.
    pub(super) fn start(launch: &Launch, slot: u32, restarts: u32) -> io::Result<Self> {
        let id = format!("{}-{slot}.{restarts}", launch.prefix);
        let mut process = Command::new(&launch.program)
            .arg("serve")
            .args(&launch.arguments)
            .args(["--spawned", "--listen", "127.0.0.1:0", "--instance-id", &id])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for the gateway, which lets instances drain when it has.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(relay(stderr, launch.marks_lines.then(|| format!("[{slot}] "))));
        }
        // A child that was just spawned has an id.
        let pid = process.id().unwrap_or_default();
        let leash = process.stdin.take();
        Ok(Self { id, process, pid, _leash: leash })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end; how it ended, in words.
    pub(super) async fn wait(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Has it finish what it has, and kills it if that takes longer than `patience`.
    pub(super) async fn drain(&mut self, patience: Duration) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::debug!(%error, instance = self.id, "an instance has already ended");
        }
        if tokio::time::timeout(patience, self.process.wait()).await.is_err() {
            tracing::warn!(instance = self.id, "an instance did not drain in time, and is killed");
            if let Err(error) = self.process.kill().await {
                tracing::error!(%error, instance = self.id, "an instance could not be killed");
            }
        }
    }
}

/// Passes its log on, line by line.
async fn relay(log: tokio::process::ChildStderr, mark: Option<String>) {
    let mut lines = BufReader::new(log);
    let mut line = mark.clone().unwrap_or_default().into_bytes();
    let start = line.len();
    while let Ok(1..) = lines.read_until(b'\n', &mut line).await {
        // Whoever reads the log may have gone, and the instance must be read from all the same.
        let _ = io::stderr().write_all(&line);
        line.truncate(start);
    }
}
