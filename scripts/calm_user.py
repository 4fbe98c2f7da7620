"""A calm user beside an attack: what it asks for at a steady rate, how that is answered, and what the service uses meanwhile."""

import contextlib
import http.client
import itertools
import multiprocessing
import os
import re
import resource
import signal
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import swarm
from measuring import Client, all_busy, cpu_seconds, quantile

PATIENCE = 5  # seconds until a calm user gives up
SETTLED = 0.1  # an answer within so many seconds shows that an attack's traces are gone
SETTLES_IN = 30
READY_IN = 10
PROCESSES = multiprocessing.get_context("fork")
CORES = sorted(os.sched_getaffinity(0))
# With one core only, nobody has one to itself.
SERVICE, CLIENTS = (CORES[:-1], CORES[-1:]) if len(CORES) > 1 else (CORES, CORES)
ATTACKERS_NICE = 5
# How many times the calm 99th percentile it may be beside an attack, and milliseconds that are the scheduler's.
FACTOR, NOISE = 2, 5
# A window in which others take more of a core is disturbed.
DISTURBED = 0.15


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
                client = client or Client(habit.port, PATIENCE, habit.source)
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


class Others:
    """What the rest of the machine computes from now on, as a share of one core."""

    def __init__(self, instances):
        self.pids = [instance.process.pid for instance in instances]
        self.begun = time.monotonic(), self.busy()

    def busy(self):
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        served = cpu_seconds(lambda pid, *_: pid in self.pids)
        return all_busy() - served - sum(usage.ru_utime + usage.ru_stime for usage in own)

    def share(self):
        since, busy = self.begun
        return (self.busy() - busy) / (time.monotonic() - since)


@dataclass
class Window:
    """What the calm user was answered for a while, and how much else the machine did."""

    rows: list
    disturbance: float

    def p99(self, name):
        return quantile([took for own, _, took in self.rows if own == name], 0.99)


class Usage:
    """The most memory and descriptors that processes have used since this was made, in MiB and by number."""

    def __init__(self, instances):
        self.instances, self.memory, self.descriptors = instances, {}, {}
        for instance in instances:
            # From now on the kernel keeps the new peak.
            with contextlib.suppress(OSError):
                Path(f"/proc/{instance.process.pid}/clear_refs").write_text("5")
        self.look()

    def look(self):
        for instance in self.instances:
            pid = instance.process.pid
            # One that has died stays with what it had last.
            with contextlib.suppress(OSError, TypeError):
                peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
                self.memory[pid] = max(self.memory.get(pid, 0), peak)
                self.descriptors[pid] = max(self.descriptors.get(pid, 0), len(os.listdir(f"/proc/{pid}/fd")))


def log_lines(instances, holding=""):
    logs = {instance.log for instance in instances}
    return sum(holding in line for log in logs for line in open(log, errors="replace"))


def death(instance):
    last = Path(instance.log).read_text(errors="replace").strip().rpartition("\n")[2]
    return f"process {instance.name} ended with {instance.process.returncode}: {last[:300]}"


@dataclass
class Beside:
    """What a calm user got in windows without the attack and with it, and what the attackers got."""

    calm: list = field(default_factory=list)
    beside: list = field(default_factory=list)
    attackers: list = field(default_factory=list)
    seconds: float = 0
    idle_memory: float = 0
    peak_memory: float = 0
    descriptors: int = 0
    lines: int = 0
    audited: int = 0
    problems: list = field(default_factory=list)

    def succeeded(self, name="calm"):
        """Requests answered with 2xx beside the attack, and all of them."""
        rows = [status for window in self.beside for own, status, _ in window.rows if own == name]
        return sum(200 <= status < 300 for status in rows), len(rows)

    def refused(self):
        statuses = [status for window in self.beside for _, status, _ in window.rows if not 200 <= status < 300]
        return ", ".join(f"{statuses.count(status)} × {status or 'no answer'}" for status in sorted(set(statuses)))

    @staticmethod
    def p99(windows, name="calm"):
        """The median of the 99th percentiles of those windows, more than half, that were disturbed least."""
        quiet = sorted(windows, key=lambda window: window.disturbance)[: len(windows) // 2 + 1]
        return statistics.median(window.p99(name) for window in quiet)

    def is_as_quick(self):
        return self.p99(self.beside) <= FACTOR * self.p99(self.calm) + NOISE

    def is_decided(self):
        """Whether no more windows are needed. They are if p99 is too long, and that may be others' doing."""
        good, asked = self.succeeded()
        quiet = [sum(window.disturbance <= DISTURBED for window in windows) for windows in (self.calm, self.beside)]
        return good < asked or self.is_as_quick() or 2 * min(quiet) > len(self.calm)

    def count(self, *key):
        key = key[0] if len(key) == 1 else key
        return sum(counts[key] for counts in self.attackers)


class Observer:
    """Has a calm user and attackers alternate: windows of calm, each followed by one of attack."""

    def __init__(self, pairs, seconds):
        self.pairs, self.seconds = pairs, seconds

    def compare(self, instances, habits, attackers, seconds=None):
        """`attackers` makes, from the window's number, what is done by processes of their own: functions of two events, the
        first set by them when the attack has begun, the second by us when it is over."""
        seconds, found = seconds or self.seconds, Beside()
        Worker(0, answers, habits, 1).wait()
        found.idle_memory = sum(instance.memory() for instance in instances)
        for window in range(2 * self.pairs):
            if window >= self.pairs and found.is_decided():
                break
            others = Others(instances)
            rows = Worker(0, answers, habits, seconds).wait()
            found.calm.append(Window(rows, others.share()))
            lines, audited = log_lines(instances), log_lines(instances, " audit: ")
            usage, others, begun = Usage(instances), Others(instances), time.monotonic()
            with self.attacking(attackers(window)) as (workers, stop):
                rows = Worker(0, answers, habits, seconds).wait(usage.look)
                stop.set()
                found.attackers += [worker.wait(usage.look) for worker in workers]
            found.beside.append(Window(rows, others.share()))
            found.seconds += time.monotonic() - begun
            found.peak_memory = max(found.peak_memory, sum(usage.memory.values()))
            found.descriptors = max(found.descriptors, usage.descriptors[instances[0].process.pid])
            found.lines += log_lines(instances) - lines
            found.audited += log_lines(instances, " audit: ") - audited
            died = [death(instance) for instance in instances if instance.process.poll() is not None]
            if died:
                found.problems += died
                break
            if not settles(habits):
                found.problems.append(f"the calm user was not served {SETTLES_IN} s after the attack")
                break
        return found

    @staticmethod
    @contextlib.contextmanager
    def attacking(works):
        stop, events, workers = PROCESSES.Event(), [PROCESSES.Event() for _ in works], []
        try:
            workers += [Worker(ATTACKERS_NICE, work, ready, stop) for work, ready in zip(works, events)]
            for ready in events:
                ready.wait(READY_IN)
            yield workers, stop
        finally:
            for worker in workers:
                worker.end()


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
