"""Private instances and gateways of the service."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.lib.client import Client
from bench.lib.errors import MeasurementError
from bench.lib.processes import clean_environment, kill, until
from bench.lib.redis import Redis

OPERATOR_TOKEN = "operator-token-of-the-benchmarks"
# Settings have the names of 0.1.0, so that builds before and after a rename can be compared.
CHEAP_HASHES = {"SYMBOLON_HASH_MEMORY_KIB": "64", "SYMBOLON_HASH_PASSES": "1"}
NO_THROTTLE = {"SYMBOLON_THROTTLE": "off"}


class Instance:
    """One process of the service."""

    def __init__(self, binary, data, settings, prefix=(), arguments=()):
        environment = clean_environment() | {
            "SYMBOLON_LISTEN": "127.0.0.1:0",
            "SYMBOLON_DATA": str(data),
            "SYMBOLON_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "SYMBOLON_LOG": "error,audit=off",
        }
        command = [*prefix, str(binary), *arguments]
        self.name = " ".join(map(str, arguments[:1])) or "serve"
        self.log = Path(data).parent / "log"
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command, env=environment | settings, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline().strip()
        address = re.search(r":(\d+)$", line)
        if not address:
            raise MeasurementError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")
        self.port = int(address[1])

    def client(self):
        return Client(self.port)

    def operator(self, path):
        """Status and decoded body of an operator's GET."""
        return self.client().request("GET", f"/v1/operator/{path}", token=OPERATOR_TOKEN)

    def statistics(self):
        return self.operator("stats")[1]

    def is_ready(self):
        return self.client().raw("GET", "/v1/health/ready")[0] == 200

    def memory(self):
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@contextlib.contextmanager
def running(binary, settings=None, instances=1, redis=False, prefix=(), arguments=()):
    """Processes on one new data directory; with sessions in a private Redis if `redis` is true.

    `prefix` is a command that starts the binary; `arguments` are the binary's own.
    """
    root = tempfile.mkdtemp()
    os.chmod(root, 0o755)
    processes, started = [], []
    try:
        settings = dict(settings or {})
        if redis:
            server = Redis(root)
            processes.append(server.process)
            settings["SYMBOLON_REDIS_URL"] = server.url
        for _ in range(instances):
            instance = Instance(binary, f"{root}/data", settings, prefix, arguments)
            processes.insert(0, instance.process)
            started.append(instance)
            until("the service is ready", instance.is_ready)
        yield started
    finally:
        for process in processes:
            kill(process)
        shutil.rmtree(root)
