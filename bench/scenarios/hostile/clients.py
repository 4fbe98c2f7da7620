"""Regular users, who send requests at a steady rate, and the processes of clients."""

import http.client
import itertools
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass

from bench.lib.client import Client
from bench.lib.cpu import CORES

PATIENCE = 5  # seconds until a regular user gives up
SETTLED = 0.1  # an answer within so many seconds shows that an attack has no effect any more
SETTLE_TIMEOUT = 30
PROCESSES = multiprocessing.get_context("fork")
# With one core only, service and clients share it.
SERVICE_CORES, CLIENT_CORES = (CORES[:-1], CORES[-1:]) if len(CORES) > 1 else (CORES, CORES)
ATTACKERS_NICE = 5


@dataclass
class Traffic:
    """What users of one kind send: requests in turns, at a rate a second.

    A request is method, path, body, token and the address that it is forwarded for.
    """

    port: int
    requests: list
    rate: float = 100
    name: str = "calm"
    threads: int = 4
    # Whether each request has a connection of its own.
    fresh: bool = False
    source: str = "127.0.0.1"


def answers(traffic, seconds):
    """The name, status and milliseconds of each request sent in so many seconds; status 0 is no answer."""
    rows, end = [], time.monotonic() + seconds

    def send_all(own, number):
        interval, client, due = own.threads / own.rate, None, time.monotonic() + number / own.rate
        for request in itertools.cycle(own.requests[number :: own.threads]):
            time.sleep(max(0.0, due - time.monotonic()))
            if due >= end:
                break
            begun = time.monotonic()
            try:
                client, status = send(own, client, request)
            except (OSError, http.client.HTTPException):
                client, status = None, 0
            rows.append((own.name, status, (time.monotonic() - begun) * 1000))
            if client and own.fresh:
                client.connection.close()
                client = None
            due = max(due + interval, time.monotonic())

    threads = [
        threading.Thread(target=send_all, args=(own, number)) for own in traffic for number in range(own.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def send(traffic, kept, request):
    """Sends a request, over the kept client's connection if there is one; returns the client and the status."""
    method, path, body, token, address = request
    client = kept or Client(traffic.port, PATIENCE, traffic.source)
    try:
        return client, client.raw(method, path, body, token, address)[0]
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        client.connection.close()
        # As every HTTP client does: a kept connection may be closed while a request is on its way.
        if not kept or method != "GET":
            raise
    except (OSError, http.client.HTTPException):
        client.connection.close()
        raise
    return send(traffic, None, request)


class Worker:
    """A process that does one thing on the clients' core; it ends when it has, or with its parent."""

    def __init__(self, nice, work, *arguments):
        self.result, sender = PROCESSES.Pipe(False)
        self.process = PROCESSES.Process(target=self.run, args=(sender, nice, work, arguments), daemon=True)
        self.process.start()
        sender.close()

    @staticmethod
    def run(sender, nice, work, arguments):
        # Ctrl-C is for the parent, which ends this process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, CLIENT_CORES)
        os.nice(nice)
        sender.send(work(*arguments))

    def wait(self, meanwhile=lambda: None):
        while not self.result.poll(0.02):
            meanwhile()
        result = self.result.recv()
        self.process.join()
        return result

    def end(self):
        self.process.terminate()
        self.process.join()


def settles(traffic):
    """Waits until all requests are answered as quickly as without an attack; returns whether they are in time."""
    end = time.monotonic() + SETTLE_TIMEOUT
    while time.monotonic() < end:
        time.sleep(0.2)
        rows = Worker(0, answers, traffic, 0.2).wait()
        if all(200 <= status < 300 and took < 1000 * SETTLED for _, status, took in rows):
            return True
    return False
