//! Processes of the service: instances and gateways on free ports, as their users start them.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{
    LogFile, OPERATOR_TOKEN, in_time,
    process::{isolated, signal, symbolon},
    servers::is_root,
    temporary_directory, until,
};

/// What differs from the defaults: the operator token is known, hashing is cheap, and a slow machine may take long for it.
const COMMON_SETTINGS: [(&str, &str); 5] = [
    ("SYMBOLON_LISTEN", "127.0.0.1:0"),
    ("SYMBOLON_OPERATOR_TOKEN", OPERATOR_TOKEN),
    ("SYMBOLON_ARGON2_MEMORY_KIB", "64"),
    ("SYMBOLON_ARGON2_ITERATIONS", "1"),
    ("SYMBOLON_HASH_QUEUE_TIMEOUT", "60s"),
];

/// A running instance or gateway. It is killed when dropped; its data is removed with the last process that uses it.
pub struct Service {
    child: Child,
    pub url: String,
    data: Arc<TempDir>,
    pub(super) client: reqwest::Client,
}

impl Service {
    /// An instance on data of its own.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// An instance on data of its own, with settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::serve(Arc::new(temporary_directory()), settings, Stdio::inherit()).await
    }

    /// As [`Self::with`], its log in a file.
    pub async fn logging_to(log: &LogFile, settings: &[(&str, &str)]) -> Self {
        Self::serve(Arc::new(temporary_directory()), settings, log.create().into()).await
    }

    /// As [`Self::logging_to`], its data in memory: other tests keep the disk busy.
    pub async fn in_memory_logging_to(log: &LogFile, settings: &[(&str, &str)]) -> Self {
        let memory = Path::new("/dev/shm");
        let data = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self::serve(Arc::new(data.expect("a temporary directory")), settings, log.create().into()).await
    }

    /// Another instance on the data of this one.
    pub async fn another(&self) -> Self {
        self.another_with(&[]).await
    }

    /// Another instance on the data of this one, with settings.
    pub async fn another_with(&self, settings: &[(&str, &str)]) -> Self {
        Self::serve(Arc::clone(&self.data), settings, Stdio::inherit()).await
    }

    /// As [`Self::another_with`], its log in a file.
    pub async fn another_logging_to(&self, log: &LogFile, settings: &[(&str, &str)]) -> Self {
        Self::serve(Arc::clone(&self.data), settings, log.create().into()).await
    }

    /// A gateway on data of its own, with arguments and settings.
    pub async fn gateway(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::run("gateway", arguments, Arc::new(temporary_directory()), settings, Stdio::inherit()).await
    }

    /// A gateway to the nodes with these URLs, once one of them has passed a health check.
    pub async fn gateway_to(nodes: &[&str], settings: &[(&str, &str)]) -> Self {
        let arguments: Vec<&str> = nodes.iter().flat_map(|node| ["--node", node]).collect();
        let gateway = Self::gateway(&arguments, settings).await;
        gateway.until_ready().await;
        gateway
    }

    /// A gateway to the fleet of this instance.
    pub async fn fleet_gateway(&self, settings: &[(&str, &str)]) -> Self {
        Self::run("gateway", &[], Arc::clone(&self.data), settings, Stdio::inherit()).await
    }

    /// As [`Self::fleet_gateway`], with arguments and its log in a file.
    pub async fn fleet_gateway_logging_to(&self, log: &LogFile, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::run("gateway", arguments, Arc::clone(&self.data), settings, log.create().into()).await
    }

    /// An instance on data in a directory, for [`Self::set_files_growable`] and [`Self::set_disk_writable`].
    pub async fn on_failing_disk(data: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        // By these two capabilities root may write whatever the mode of a file is.
        let without_privilege: &[&str] = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        // A process that exceeds a limit on the size of files is ended by this signal, unless it ignores it.
        let ignoring_limits: &[&str] = &["env", "--ignore-signal=XFSZ"];
        let wrapper = if is_root() { [without_privilege, ignoring_limits].concat() } else { ignoring_limits.to_vec() };
        Self::wrapped(&wrapper, data, settings).await
    }

    /// An instance that another program starts: one that runs the command in its arguments.
    pub async fn wrapped(wrapper: &[&str], data: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args([env!("CARGO_BIN_EXE_symbolon"), "serve"]);
        Self::spawn(isolated(command, data.path()), data, settings, Stdio::inherit()).await
    }

    async fn serve(data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        Self::run("serve", &[], data, settings, log).await
    }

    async fn run(role: &str, arguments: &[&str], data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut command = symbolon(data.path());
        command.arg(role).args(arguments);
        Self::spawn(command, data, settings, log).await
    }

    async fn spawn(mut command: Command, data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        command.env("SYMBOLON_DATA_DIR", data.path().join("data")).envs(COMMON_SETTINGS).envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = in_time("the service starts", lines.next_line()).await.expect("output");
        let line = line.expect("a line before the process ends");
        let url = line.split(" listens on ").nth(1).expect("an address").to_owned();
        Self { child, url, data, client: reqwest::Client::new() }
    }

    /// The address that it listens on.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("a URL")
    }

    pub fn pid(&self) -> Pid {
        let pid = self.child.id().expect("a running process");
        i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The token that it generated, with [`super::GENERATED_OPERATOR_TOKEN`].
    pub fn generated_operator_token(&self) -> String {
        std::fs::read_to_string(self.data().join("operator-token")).expect("an operator token").trim().to_owned()
    }

    pub async fn until_ready(&self) {
        until("it is ready", async || self.is_ready().await).await;
    }

    /// Ends the process at once, as a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process is killed");
    }

    /// Asks the process to stop.
    pub fn request_stop(&self) {
        signal(self.pid(), Signal::TERM);
    }

    /// Asks the process to stop and waits until it has; returns whether its exit code was 0.
    pub async fn terminate(&mut self) -> bool {
        self.request_stop();
        self.wait_for_exit().await
    }

    /// Waits until the process has ended; returns whether its exit code was 0.
    pub async fn wait_for_exit(&mut self) -> bool {
        in_time("the process ends", self.child.wait()).await.expect("a status").success()
    }

    /// Makes every write that would make a file larger fail, or lets them succeed again.
    pub fn set_files_growable(&self, growable: bool) {
        let limit = Rlimit { current: (!growable).then_some(0), maximum: None };
        rustix::process::prlimit(Some(self.pid()), Resource::Fsize, limit).expect("the limit is set");
    }

    /// Makes its disk read-only as Linux does with one that fails: writes to open files fail, and others can be opened for
    /// reading only. Or makes it writable again.
    pub fn set_disk_writable(&self, writable: bool) {
        let (file, directory) = if writable { (0o600, 0o700) } else { (0o400, 0o500) };
        let set_mode =
            |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
        self.set_files_growable(writable);
        let entries = std::fs::read_dir(self.data()).expect("a directory");
        entries.for_each(|entry| set_mode(&entry.expect("an entry").path(), file));
        set_mode(&self.data(), directory);
    }
}
