"""What the measuring scripts share: private instances and servers, clients, and tables."""

import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse battery"
SHARDS = ["db-node-0", "db-node-1", "db-node-2"]
TOKEN = "operator-token-of-the-scripts"
DEADLINE = 60
CHEAP = {"SYMBOLON_HASH_MEMORY_KIB": "64", "SYMBOLON_HASH_PASSES": "1"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come true")
        time.sleep(0.01)


class Redis:
    """One server process."""

    def __init__(self, root):
        self.port = free_port()
        directory = tempfile.mkdtemp(dir=root)
        user = {"user": "redis", "group": "redis", "extra_groups": []} if os.geteuid() == 0 else {}
        if user:
            shutil.chown(directory, "redis", "redis")
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        until("Redis answers", self.answers)
        self.url = f"redis://127.0.0.1:{self.port}"

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False


def tied(command):
    """The command, so that it ends when we end."""
    return ["setpriv", "--pdeathsig", "KILL", *map(str, command)]


def as_user(user, command):
    """The command as an unprivileged user where we are root; it ends when we end."""
    drop = ["--reuid", user, "--regid", user, "--clear-groups"] if os.geteuid() == 0 else []
    return tied([*drop, *command])


def directory_of(user, path):
    path.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(path, user, user)
    return path


class Postgres:
    """A server that a shard is on, with a database `shard`."""

    def __init__(self, directory):
        self.binaries = Path(max(glob.glob("/usr/lib/postgresql/*/bin") or sys.exit("PostgreSQL is not installed")))
        self.directory, self.port = directory_of("postgres", directory), free_port()
        initdb = ["initdb", "--no-sync", "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8"]
        self.run([*initdb, "--pgdata", self.directory / "data"])
        self.start()
        self.run(["createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "shard"])
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/shard"

    def run(self, command):
        command = [self.binaries / command[0], *command[1:]]
        return subprocess.run(as_user("postgres", command), check=True, capture_output=True, cwd="/")

    def start(self):
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}", "fsync=off"]
        command = [self.binaries / "postgres", "-D", self.directory / "data", "-p", self.port]
        command += [word for setting in settings for word in ("-c", setting)]
        with open(self.directory / "log", "a") as log:
            self.server = subprocess.Popen(as_user("postgres", command), stdout=log, stderr=log, cwd="/")
        until("PostgreSQL answers", self.answers)

    def answers(self):
        command = [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres"]
        return subprocess.run([str(word) for word in command]).returncode == 0

    def kill(self):
        # The postmaster's children notice its death, but not at once: a machine that dies takes all with it.
        for pid in [self.server.pid, *self.children()]:
            self.signal(pid, signal.SIGKILL)
        self.server.wait()

    def pause(self):
        # First the postmaster, so that no child is added.
        self.signal(self.server.pid, signal.SIGSTOP)
        for pid in self.children():
            self.signal(pid, signal.SIGSTOP)

    def resume(self):
        for pid in [*self.children(), self.server.pid]:
            self.signal(pid, signal.SIGCONT)

    def children(self):
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


@contextlib.contextmanager
def postgres_shards(names):
    """A private server for each shard, by the shard's name."""
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        shards = {}
        try:
            for name in names:
                shards[name] = Postgres(Path(work) / name)
            yield shards
        finally:
            for shard in shards.values():
                shard.resume()
                shard.kill()


def cpu_seconds(which):
    """The processor time that processes have used; `which` chooses among them by id, name and parent."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # One that has just ended is not there any more.
        with contextlib.suppress(OSError):
            before, _, after = stat.read_text().rpartition(")")
            fields, name = after.split(), before.partition("(")[2]
            if which(int(stat.parent.name), name, int(fields[1])):
                # With that of its children that have ended: a server's connections come and go.
                total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def all_busy():
    """CPU seconds that the machine has spent, stolen ones included."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Instance:
    """One process of the service."""

    def __init__(self, binary, data, settings, prefix=(), arguments=()):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYMBOLON_")}
        environment |= {
            "SYMBOLON_LISTEN": "127.0.0.1:0",
            "SYMBOLON_DATA": str(data),
            "SYMBOLON_OPERATOR_TOKEN": TOKEN,
            "SYMBOLON_LOG": "error,audit=off",
        }
        command = [*prefix, str(binary), *arguments]
        self.name = " ".join(map(str, arguments[:1])) or "serve"
        self.log = Path(data).parent / "log"
        log = open(self.log, "a")
        self.process = subprocess.Popen(
            command, env=environment | settings, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self.port = int(re.search(r":(\d+)$", self.process.stdout.readline().strip())[1])

    def client(self):
        return Client(self.port)

    def memory(self):
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def hashing(self):
        return self.client().request("GET", "/v1/operator/stats", token=TOKEN)[1]["password_hashing"]


class Client:
    """A kept connection with an instance; one a thread."""

    def __init__(self, port, timeout=DEADLINE, source="127.0.0.1"):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout, source_address=(source, 0))
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def raw(self, method, path, body=None, token=None, address=None):
        """Status, headers and body as it came."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if address:
            headers["X-Forwarded-For"] = address
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def request(self, method, path, body=None, token=None, address=None):
        """Status and body."""
        status, _, text = self.raw(method, path, body, token, address)
        return status, json.loads(text) if text else None

    def register(self, name, password=PASSWORD):
        profile = {"name": name, "email": "user@example.com"}
        body = {"login_name": name, "password": password, "profile": profile}
        status, user = self.request("POST", "/v1/users", body)
        assert status == 201, (status, user)
        return user["user_id"]

    def login(self, name, password=PASSWORD, address=None):
        """Status and body."""
        return self.request("POST", "/v1/login", {"login_name": name, "password": password}, address=address)

    def token(self, name, password=PASSWORD):
        status, body = self.login(name, password)
        assert status == 200, (status, body)
        return body["token"]

    def session(self, token):
        return self.request("GET", "/v1/session", token=token)[0]


@contextlib.contextmanager
def running(binary, settings=None, instances=1, redis=False, prefix=(), arguments=()):
    """Processes on one data directory; with sessions in Redis if so asked."""
    root = tempfile.mkdtemp()
    os.chmod(root, 0o755)
    server, started = None, []
    try:
        settings = dict(settings or {})
        if redis:
            server = Redis(root)
            settings["SYMBOLON_REDIS_URL"] = server.url
        for _ in range(instances):
            started.append(Instance(binary, f"{root}/data", settings, prefix, arguments))
            until("the service is ready", lambda: started[-1].client().raw("GET", "/v1/health/ready")[0] == 200)
        yield started
    finally:
        for process in [instance.process for instance in started] + ([server.process] if server else []):
            process.kill()
            process.wait()
        shutil.rmtree(root)


def find_binary(given):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = given or os.environ.get("SYMBOLON_BINARY") or target / "release/symbolon"
    if not shutil.which(str(binary)):
        sys.exit(f"{binary} is missing: cargo build --release makes it")
    return binary


def build_storm():
    """The generator of load whose rate does not depend on the answers."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target/storm")}
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=ROOT / "benches/storm", env=environment, check=True)
    return str(ROOT / "target/storm/release/storm")


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def show(report):
    """Prints titles and rows; a row is one column."""
    for title, rows in report.items():
        print(title)
        width = max(len(name) for name in rows[0])
        for name in rows[0]:
            print(f"  {name:<{width}}", *(f"{row[name]!s:>18}" for row in rows))
        print()


def finish(report, broken, as_json, show=show):
    """Prints the report and what was promised and did not hold; ends with 1 if there is any."""
    if as_json:
        print(json.dumps({"report": report, "broken": broken}, indent=2))
    else:
        show(report)
        for promise in broken:
            print(f"BROKEN: {promise}")
    sys.exit(1 if broken else 0)
