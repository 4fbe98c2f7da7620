"""What the measuring scripts share: private instances and servers, clients, and tables."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "correct horse battery"
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
        log = open(Path(data).parent / "log", "a")
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

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
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
    binary = given or os.environ.get("SYMBOLON_BINARY") or ROOT / "target/release/symbolon"
    if not shutil.which(str(binary)):
        sys.exit(f"{binary} is missing: cargo build --release makes it")
    return binary


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
