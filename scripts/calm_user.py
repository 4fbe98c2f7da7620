"""A calm user, who asks at a steady rate, and the processes that clients are."""

import http.client
import itertools
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass

import swarm
from measuring import Client

PATIENCE = 5  # seconds until a calm user gives up
SETTLED = 0.1  # an answer within so many seconds shows that an attack's traces are gone
SETTLES_IN = 30
PROCESSES = multiprocessing.get_context("fork")
CORES = sorted(os.sched_getaffinity(0))
# With one core only, nobody has one to itself.
SERVICE, CLIENTS = (CORES[:-1], CORES[-1:]) if len(CORES) > 1 else (CORES, CORES)
ATTACKERS_NICE = 5


@dataclass
class Habit:
    """What a user does: requests at a rate, in turns, each as method, path, body, token and address it is forwarded for."""

    port: int
    requests: list
    rate: float = 100
    name: str = "calm"
    threads: int = 4
    # Whether each request has a connection of its own.
    fresh: bool = False
    source: str = "127.0.0.1"


def answers(habits, seconds):
    """The name, status and milliseconds of each request that the habits make in so many seconds; 0 is no answer."""
    rows, end = [], time.monotonic() + seconds

    def ask(habit, number):
        interval, client, due = habit.threads / habit.rate, None, time.monotonic() + number / habit.rate
        for method, path, body, token, address in itertools.cycle(habit.requests[number :: habit.threads]):
            time.sleep(max(0.0, due - time.monotonic()))
            if due >= end:
                break
            begun = time.monotonic()
            try:
                kept, client = client, client or Client(habit.port, PATIENCE, habit.source)
                try:
                    status = client.raw(method, path, body, token, address)[0]
                except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                    # As every HTTP client does: a kept connection may be closed while a request is on its way.
                    if not kept or method != "GET":
                        raise
                    client.connection.close()
                    client = Client(habit.port, PATIENCE, habit.source)
                    status = client.raw(method, path, body, token, address)[0]
            except (OSError, http.client.HTTPException):
                status = 0
            rows.append((habit.name, status, (time.monotonic() - begun) * 1000))
            if client and (habit.fresh or not status):
                client.connection.close()
                client = None
            due = max(due + interval, time.monotonic())

    threads = [threading.Thread(target=ask, args=(habit, number)) for habit in habits for number in range(habit.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


class Worker:
    """A process that does one thing on the clients' core; it ends when it has, or with us."""

    def __init__(self, nice, work, *arguments):
        self.result, sender = PROCESSES.Pipe(False)
        self.process = PROCESSES.Process(target=self.run, args=(sender, nice, work, arguments), daemon=True)
        self.process.start()
        sender.close()

    @staticmethod
    def run(sender, nice, work, arguments):
        # Ctrl-C is for the process that started it, which ends it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, CLIENTS)
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


def settles(habits):
    """Waits until all habits are answered as quickly as when nothing is wrong."""
    end = time.monotonic() + SETTLES_IN
    while time.monotonic() < end:
        time.sleep(0.2)
        if all(200 <= status < 300 and took < 1000 * SETTLED for _, status, took in Worker(0, answers, habits, 0.2).wait()):
            return True
    return False


def swarm_of(port, sources, peers):
    """An attacker for `Observer.compare` that keeps these peers."""
    return lambda ready, stop: swarm.attack(port, sources, peers, ready, stop)


def raise_descriptor_limit():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stop_on_signal():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("stopped"))
