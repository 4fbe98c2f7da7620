//! Starts real instances on free ports and talks HTTP with them.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use crate::servers::is_root;

/// What a condition may take to come true on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const PASSWORD: &str = "correct horse battery";

/// Settings that make hashing cheap, and have it waited for on however slow a machine; everything else is as for users.
const CHEAP: [(&str, &str); 3] =
    [("SYMBOLON_HASH_MEMORY_KIB", "64"), ("SYMBOLON_HASH_PASSES", "1"), ("SYMBOLON_HASH_DEADLINE", "60s")];

/// A running instance. It is killed when dropped, and its data is removed with the last instance that uses it.
pub struct Service {
    child: Child,
    pub url: String,
    pub operator_url: Option<String>,
    data: Arc<TempDir>,
    client: reqwest::Client,
}

/// A response, its body read.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// A number that the environment sets for a longer or another run.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The command with no setting of the surroundings, in `directory`; of another build where `TESTED_BINARY` names one.
pub fn symbolon(directory: &Path) -> Command {
    let binary = std::env::var_os("TESTED_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_symbolon").into());
    prepared(Command::new(binary), directory)
}

fn prepared(mut command: Command, directory: &Path) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SYMBOLON_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).kill_on_drop(true);
    command
}

impl Service {
    /// An instance on data of its own.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// An instance on data of its own, with settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(tempfile::tempdir().expect("a temporary directory")), settings, Stdio::inherit()).await
    }

    /// An instance on data of its own, with settings, its log in a file.
    pub async fn logging_to(log: &Path, settings: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        Self::on(Arc::new(tempfile::tempdir().expect("a temporary directory")), settings, log.into()).await
    }

    /// As [`Self::logging_to`], its data in memory, as others use the disk.
    pub async fn in_memory_logging_to(log: &Path, settings: &[(&str, &str)]) -> Self {
        let memory = Path::new("/dev/shm");
        let data = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let log = std::fs::File::create(log).expect("a log file");
        Self::on(Arc::new(data.expect("a temporary directory")), settings, log.into()).await
    }

    /// Another instance on the data of this one.
    pub async fn another(&self) -> Self {
        self.another_with(&[]).await
    }

    /// Another instance on the data of this one, with settings.
    pub async fn another_with(&self, settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::clone(&self.data), settings, Stdio::inherit()).await
    }

    /// Another instance on the data of this one, with settings, its log in a file.
    pub async fn another_logging_to(&self, log: &Path, settings: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        Self::on(Arc::clone(&self.data), settings, log.into()).await
    }

    /// A gateway on data of its own, with arguments and settings.
    pub async fn gateway(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let data = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self::run("gateway", arguments, data, settings, Stdio::inherit()).await
    }

    /// A gateway to the fleet that this instance is in.
    pub async fn its_gateway(&self, settings: &[(&str, &str)]) -> Self {
        Self::run("gateway", &[], Arc::clone(&self.data), settings, Stdio::inherit()).await
    }

    /// A gateway on the data of this instance, its log in a file.
    pub async fn its_gateway_logging_to(&self, log: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(log).expect("a log file");
        Self::run("gateway", arguments, Arc::clone(&self.data), settings, log.into()).await
    }

    async fn on(data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        Self::run("serve", &[], data, settings, log).await
    }

    /// An instance whose disk can fill up and become read-only, on data in a directory.
    pub async fn on_a_disk_that_fails(data: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        // Root may write whatever the mode says, by these two capabilities.
        let without_privilege: &[&str] = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        // A limit on the size of files would end it by this signal.
        let outliving: &[&str] = &["env", "--ignore-signal=XFSZ"];
        let wrapper = if is_root() { [without_privilege, outliving].concat() } else { outliving.to_vec() };
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args([env!("CARGO_BIN_EXE_symbolon"), "serve"]);
        Self::run_as(prepared(command, data.path()), data, settings, Stdio::inherit()).await
    }

    /// Whether files may grow: if not, writing to them fails.
    pub fn let_files_grow(&self, may: bool) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let limit = rustix::process::Rlimit { current: (!may).then_some(0), maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).expect("the limit is set");
    }

    /// Makes its disk read-only as Linux does with one that fails: writing to open files fails, and others can be opened for
    /// reading only. Or lets it be written again.
    pub fn let_disk_be_written(&self, may: bool) {
        let (file, directory) = if may { (0o600, 0o700) } else { (0o400, 0o500) };
        let set_mode =
            |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
        self.let_files_grow(may);
        let entries = std::fs::read_dir(self.data()).expect("a directory");
        entries.for_each(|entry| set_mode(&entry.expect("an entry").path(), file));
        set_mode(&self.data(), directory);
    }

    async fn run(role: &str, arguments: &[&str], data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut command = symbolon(data.path());
        command.arg(role).args(arguments);
        Self::run_as(command, data, settings, log).await
    }

    async fn run_as(mut command: Command, data: Arc<TempDir>, settings: &[(&str, &str)], log: Stdio) -> Self {
        command.env("SYMBOLON_LISTEN", "127.0.0.1:0").env("SYMBOLON_DATA", data.path().join("data"));
        command.envs(CHEAP).envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let read = async {
            let first = lines.next_line().await.expect("output").expect("a line before the end");
            first.split(" listens on ").nth(1).expect("an address").to_owned()
        };
        let url = tokio::time::timeout(DEADLINE, read).await.expect("the service starts in time");
        let operator_url = settings.iter().find(|(name, _)| *name == "SYMBOLON_OPERATOR_LISTEN");
        Self {
            child,
            url,
            operator_url: operator_url.map(|(_, address)| format!("http://{address}")),
            data,
            client: reqwest::Client::new(),
        }
    }

    /// The process' id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub fn operator_token(&self) -> String {
        std::fs::read_to_string(self.data().join("operator-token")).expect("an operator token").trim().to_owned()
    }

    /// Ends the process at once, as a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the process is killed");
    }

    /// Asks the process to stop.
    pub async fn ask_to_stop(&self) {
        let pid = self.child.id().expect("a running process").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs");
    }

    /// Asks the process to stop and waits until it has; returns whether it ended well.
    pub async fn terminate(&mut self) -> bool {
        self.ask_to_stop().await;
        self.has_ended().await
    }

    /// Waits until the process has ended; returns whether it ended well.
    pub async fn has_ended(&mut self) -> bool {
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it stops in time").expect("a status").success()
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        Request(self.client.request(method, format!("{}{path}", self.url)))
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Request {
        self.request(Method::POST, path).json(&body)
    }

    pub fn put(&self, path: &str, body: Value) -> Request {
        self.request(Method::PUT, path).json(&body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Request {
        self.request(Method::PATCH, path).json(&body)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A request with the operator's token.
    pub fn operator(&self, method: Method, path: &str) -> Request {
        self.request(method, &format!("/v1/operator{path}")).bearer(&self.operator_token())
    }

    /// Registers a user and returns its id.
    pub async fn register(&self, login_name: &str) -> String {
        let reply = self.post("/v1/users", registration(login_name)).send().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.json()["user_id"].as_str().expect("an id").to_owned()
    }

    /// Logs in and returns the token.
    pub async fn login(&self, login_name: &str) -> String {
        let reply = self.try_login(login_name, PASSWORD).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["token"].as_str().expect("a token").to_owned()
    }

    pub async fn try_login(&self, login_name: &str, password: &str) -> Reply {
        self.post("/v1/login", json!({"login_name": login_name, "password": password})).send().await
    }

    /// Registers a user and logs it in.
    pub async fn member(&self, login_name: &str) -> String {
        self.register(login_name).await;
        self.login(login_name).await
    }

    /// The status of `GET /v1/session` with a token.
    pub async fn session_status(&self, token: &str) -> u16 {
        self.get("/v1/session").bearer(token).send().await.status.as_u16()
    }
}

pub fn registration(login_name: &str) -> Value {
    json!({"login_name": login_name, "password": PASSWORD, "profile": {"name": "Ada", "email": "ada@example.com"}})
}

/// A request under way.
pub struct Request(reqwest::RequestBuilder);

impl Request {
    pub fn bearer(self, token: &str) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    pub fn raw(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", content_type).body(body))
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    pub async fn try_send(self) -> Result<Reply, reqwest::Error> {
        let response = self.0.timeout(DEADLINE).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that this is a problem of this status and type; returns the fields that it names.
    pub fn problem(&self, status: u16, slug: &str) -> Vec<String> {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["type"], format!("urn:symbolon:problem:{slug}"), "{body}");
        assert_eq!(body["status"], status);
        let fields = body["errors"].as_array().cloned().unwrap_or_default();
        fields.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }
}

/// Waits until `condition` holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what} did not come true"));
}

/// Runs the command to its end; returns exit code, standard output and standard error.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = symbolon(directory.path());
    command.args(arguments).envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let feed = async move { tokio::io::AsyncWriteExt::write_all(&mut stdin, input).await };
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let all = async {
        // A command that refuses its settings does not read its input.
        let (_, out, err, status) =
            tokio::join!(feed, stdout.read_to_string(&mut out), stderr.read_to_string(&mut err), child.wait());
        out.and(err).expect("output");
        status.expect("a status").code().expect("an exit code")
    };
    let code = tokio::time::timeout(DEADLINE, all).await.expect("the command ends in time");
    (code, out, err)
}
