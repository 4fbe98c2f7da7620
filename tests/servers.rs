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
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

/// What a server may take to start on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A server process with all that it takes to start it again. It is killed when dropped, and by the kernel when the thread that started it ends.
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
    pub fn end_by(&mut self, signal: Signal) {
        signal_to(self.id(), signal);
        self.child.wait().expect("it ends");
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it in the middle of whatever it does; connections stay open.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).expect("the process gets the signal");
    }

    /// Starts it again, on what it left.
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

/// Sends a signal to a process that may have ended.
pub fn signal_to(process: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(process, signal);
}

/// The processes that a process has started and that have not ended.
pub fn children_of(process: Pid) -> Vec<Pid> {
    let process = process.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// Whether a process is no more; one that nobody has asked for its status yet (a zombie) is not.
pub fn has_ended(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// A command as `user` where this process may choose (as root), else as whoever runs the tests.
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
    let directory = tempfile::tempdir().expect("a temporary directory");
    own(user, directory.path());
    directory
}

/// Gives a path to `user`, where this process may.
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

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The newest of the paths that match, or a failure that says what to do.
pub fn installed(what: &str, candidates: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    let found = candidates.into_iter().filter(|path| path.exists()).max();
    found.unwrap_or_else(|| panic!("{what} is not installed: run `make test`, which installs what tests need"))
}
