//! Private servers for tests, from the installed binaries, on free ports. They end with the test that started them.

pub mod certificates;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod volume;

use std::{
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};

use super::{process::signal, temporary_directory};

/// A port that no process listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A server process that can be started again. It is killed when dropped, and by the kernel when the thread that started it
/// ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    start: Start,
}

#[derive(Debug, Clone)]
struct Start {
    user: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Server {
    /// Starts a program as an unprivileged user, its output in a file.
    pub fn start(user: &'static str, program: &Path, arguments: Vec<String>, log: PathBuf) -> Self {
        let start = Start { user, program: program.to_owned(), arguments, log };
        Self { child: start.spawn(), start }
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal and waits until it has ended.
    pub fn end_by(&mut self, by: Signal) {
        signal(self.id(), by);
        self.child.wait().expect("it ends");
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops its execution; connections stay open.
    pub fn pause(&self) {
        signal(self.id(), Signal::STOP);
    }

    /// Continues its execution.
    pub fn resume(&self) {
        signal(self.id(), Signal::CONT);
    }

    /// Starts it again, on its former data.
    pub fn start_again(&mut self) {
        self.child = self.start.spawn();
    }
}

impl Start {
    fn spawn(&self) -> Child {
        let output = std::fs::File::create(&self.log).expect("a log file");
        let mut command = command_as(self.user, &self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a handle")).stderr(output);
        command.spawn().expect("setpriv runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that runs as `user` if this process is root, else as its own user.
pub fn command_as(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command.arg(program);
    command
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a directory that `user` owns.
pub fn directory_of(user: &str) -> tempfile::TempDir {
    let directory = temporary_directory();
    own(user, directory.path());
    directory
}

/// Makes `user` the owner of a path, if this process is root.
pub fn own(user: &str, path: &Path) {
    if is_root() {
        let status = Command::new("chown").arg(format!("{user}:{user}")).arg(path).status().expect("chown runs");
        assert!(status.success(), "the user {user} is missing: run `make test`, which installs what tests need");
    }
}

/// Writes a file that only `user` may read.
pub fn write_private(user: &str, path: &Path, text: &str) {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.expect("a new file"), text.as_bytes()).expect("it is written");
    own(user, path);
}

/// The last of the paths that exist.
///
/// # Panics
/// If there is none, with what to do about it.
pub fn installed(what: &str, candidates: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    let found = candidates.into_iter().filter(|path| path.exists()).max();
    found.unwrap_or_else(|| panic!("{what} is not installed: run `make test`, which installs what tests need"))
}
