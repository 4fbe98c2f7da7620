"""Private PostgreSQL servers."""

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from bench.lib.errors import MeasurementError
from bench.lib.processes import as_user, directory_of, free_port, until

SHARDS = ["db-node-0", "db-node-1", "db-node-2"]
# Writes are still in order, but a crash of the machine may lose them.
FAST = ("fsync=off",)


class Postgres:
    """A server with its files in a new directory, and in it the database `shard`."""

    def __init__(self, directory, settings=FAST):
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not installed:
            raise MeasurementError("PostgreSQL is missing; install it with: scripts/install-test-servers")
        self.binaries, self.settings = installed[-1], settings
        self.directory, self.port = directory_of("postgres", directory), free_port()
        initdb = ["initdb", "--no-sync", "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8"]
        self.run([*initdb, "--pgdata", self.directory / "data"])
        self.start()
        self.create_database("shard")
        self.url = self.url_of("shard")

    def connection(self):
        return ["-h", "127.0.0.1", "-p", self.port, "-U", "postgres"]

    def url_of(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, command, **options):
        """Runs one of PostgreSQL's programs and returns what it printed."""
        command = as_user("postgres", [self.binaries / command[0], *command[1:]])
        return subprocess.run(command, check=True, capture_output=True, cwd="/", **options).stdout

    def create_database(self, name):
        self.run(["createdb", *self.connection(), name])

    def query(self, database, statement):
        """The rows of a statement as psql prints them, unaligned."""
        command = ["psql", *self.connection(), "-d", database, "-XAtqc", statement]
        return self.run(command, text=True).strip()

    def start(self):
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}", *self.settings]
        command = [self.binaries / "postgres", "-D", self.directory / "data", "-p", self.port]
        command += [word for setting in settings for word in ("-c", setting)]
        with open(self.directory / "log", "a") as log:
            self.server = subprocess.Popen(as_user("postgres", command), stdout=log, stderr=log, cwd="/")
        until("PostgreSQL accepts connections", self.is_ready)

    def is_ready(self):
        command = [self.binaries / "pg_isready", "-q", *self.connection()]
        return subprocess.run([str(word) for word in command]).returncode == 0

    def kill(self):
        # The backends notice the postmaster's death, but not at once: a machine that dies takes all with it.
        for pid in [self.server.pid, *self.backends()]:
            self.signal(pid, signal.SIGKILL)
        self.server.wait()

    def pause(self):
        # First the postmaster, so that it starts no other backend.
        self.signal(self.server.pid, signal.SIGSTOP)
        for pid in self.backends():
            self.signal(pid, signal.SIGSTOP)

    def resume(self):
        for pid in [*self.backends(), self.server.pid]:
            self.signal(pid, signal.SIGCONT)

    def backends(self):
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    @staticmethod
    def signal(pid, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def postgres_shards(names=tuple(SHARDS), settings=FAST):
    """A private server for each shard, by the shard's name."""
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        shards = {}
        try:
            for name in names:
                shards[name] = Postgres(Path(work) / name, settings)
            yield shards
        finally:
            for shard in shards.values():
                shard.resume()
                shard.kill()


def shards_setting(shards, database="shard"):
    """The value of SYMBOLON_SHARDS for these servers."""
    return ",".join(f"{name}={server.url_of(database)}" for name, server in shards.items())
