"""Private Redis servers: one, a pair watched by a Sentinel, a Cluster."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from bench.lib.processes import as_user, directory_of, free_port, kill, until

# Every acknowledged write is on the disk.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
# Without this a replica gets nothing until it has said, a second later, that it is ready.
REPLICATED = ("--repl-diskless-sync", "no")
CLUSTERED = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
# A node's bus port is 10,000 above its port.
MAX_CLUSTER_PORT = 55535


def send_command(port, *arguments, timeout=1):
    """Sends an inline command; returns the first piece of the answer, or nothing if the server is away."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(" ".join(map(str, arguments)).encode() + b"\r\n")
            return connection.recv(65536).decode(errors="replace")
    except OSError:
        return ""


class Redis:
    """One server process."""

    def __init__(self, root, *settings, durability=DURABLE, port=None):
        self.port = port or free_port()
        self.directory = directory_of("redis", Path(root) / f"redis-{self.port}")
        self.command_line = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory]
        self.command_line += ["--save", "", *durability, *settings]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self, wait=True):
        with open(self.directory / "log", "a") as log:
            command = as_user("redis", self.command_line)
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        if wait:
            until("Redis answers", self.is_ready)

    def command(self, *arguments, timeout=1):
        return send_command(self.port, *arguments, timeout=timeout)

    def is_ready(self):
        return self.command("PING", timeout=0.05).startswith("+PONG")

    def kill(self):
        kill(self.process)

    stop = kill

    def restart(self):
        """Ends the server and starts it again, without waiting until it answers."""
        self.process.terminate()
        self.process.wait()
        self.start(wait=False)


class Single:
    """One server."""

    name = "single"

    def __init__(self, root):
        self.servers = [Redis(root)]
        self.url = self.servers[0].url

    def stop(self):
        for server in self.servers:
            server.kill()


class Sentinel:
    """A primary and a replica, watched by one Sentinel."""

    name = "sentinel"

    def __init__(self, root):
        primary = Redis(root, *REPLICATED)
        replica = Redis(root, *REPLICATED, "--replicaof", "127.0.0.1", primary.port)
        until("the replica follows", lambda: "link_status:up" in replica.command("INFO", "replication"))
        file = Path(tempfile.mkdtemp(dir=root)) / "sentinel.conf"
        self.port = free_port()
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        )
        if os.geteuid() == 0:
            for path in (file.parent, file):
                shutil.chown(path, "redis", "redis")
        command = as_user("redis", ["redis-server", file, "--sentinel"])
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.servers = [primary, replica]
        until("Sentinel knows the replica", lambda: str(replica.port) in self.ask("replicas"))
        self.url = f"redis-sentinel://127.0.0.1:{self.port}?sentinelServiceName=main"

    def ask(self, question):
        return send_command(self.port, "SENTINEL", question, "main")

    def primary_of(self, _user_id):
        """The primary that Sentinel names to clients, if any."""
        answer = self.ask("get-master-addr-by-name").split()
        return next((server for server in self.servers if str(server.port) in answer), None)

    def stop(self):
        for server in self.servers:
            server.kill()
        kill(self.process)


class Cluster:
    """Three primaries with a replica each."""

    name = "cluster"

    def __init__(self, root):
        settings = [*REPLICATED, *CLUSTERED]
        self.servers = [Redis(root, *settings, port=free_port(MAX_CLUSTER_PORT)) for _ in range(6)]
        addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        for server in self.servers:
            until("the cluster is complete", lambda server=server: "state:ok" in server.command("CLUSTER", "INFO"))
        until("the replicas follow", lambda: self.followers() == 3)
        self.url = f"redis-cluster://127.0.0.1:{self.servers[0].port}"

    def followers(self):
        return sum("link_status:up" in server.command("INFO", "replication") for server in self.servers)

    def primary_of(self, user_id):
        """The primary that serves a user's keys, as the servers tell clients, if any."""
        for server in self.servers:
            answer = server.command("EXISTS", f"symbolon:{{{user_id}}}:user")
            if answer.startswith(":"):
                return server
            if answer.startswith("-MOVED"):
                port = int(answer.strip().rsplit(":", 1)[1])
                return next(server for server in self.servers if server.port == port)
        return None

    def stop(self):
        for server in self.servers:
            server.kill()


@contextlib.contextmanager
def private_redis(kind=Redis, **options):
    """A server, or servers of another kind (`Single`, `Sentinel` or `Cluster`), with their files in a new directory."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        servers = kind(root, **options)
        try:
            yield servers
        finally:
            servers.stop()
