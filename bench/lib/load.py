"""The load generator `benches/storm`, whose rate does not depend on the answers, and requests as it sends them."""

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bench.lib.client import login_body
from bench.lib.processes import tied


class Answer(NamedTuple):
    """What became of one request. Times are in milliseconds, `begun` since the load's start; status 0 is no answer."""

    kind: str
    status: int
    begun: float
    took: float

    @property
    def ended(self):
        return self.begun + self.took


def read_request(path, token):
    """A GET of an authenticated user, as it goes over the wire."""
    return request_text(f"GET {path}", f"Authorization: Bearer {token}\r\n")


def login_request(name, head=""):
    """A login; `{address}` in `head` becomes an address of its own each time the request is sent."""
    body = json.dumps(login_body(name))
    return request_text("POST /v1/login", json_head(body) + head, body)


def json_head(body):
    return f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"


def request_text(line, head, body=""):
    return f"{line} HTTP/1.1\r\nHost: x\r\n{head}\r\n{body}"


def write_requests(path, requests):
    """A file of requests for the generator, which sends them in turn."""
    Path(path).write_text("\0".join(requests))


class Load:
    """Requests of some kinds at a rate each, sent by a process of its own from now on.

    `kinds` is pairs of a rate (requests a second) and a file of requests, by the name of the kind.
    """

    def __init__(self, generator, port, seconds, patience, kinds):
        self.file = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open until `answers`)
        loads = [f"{kind}={rate}={file}" for kind, (rate, file) in kinds.items()]
        command = tied([generator, "load", f"127.0.0.1:{port}", seconds, patience, *loads])
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.file)

    def answers(self):
        """Waits until the load has ended; returns all answers."""
        if self.process.wait():
            raise subprocess.CalledProcessError(self.process.returncode, self.process.args)
        with self.file:
            self.file.seek(0)
            lines = map(str.split, self.file)
            return [Answer(kind, int(status), float(begun), float(took)) for kind, status, begun, took in lines]


@contextlib.contextmanager
def login_storm(instance, clients, pause):
    """Clients that log in at once, and again together after a pause in seconds, if any."""
    instance.client().register("ada")
    stop, together = threading.Event(), threading.Barrier(clients)

    def log_in():
        own = instance.client()
        with contextlib.suppress(threading.BrokenBarrierError):
            while not stop.is_set():
                own.login("ada")
                if pause:
                    stop.wait(pause)
                    together.wait()

    threads = [threading.Thread(target=log_in) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        together.abort()
        for thread in threads:
            thread.join()
