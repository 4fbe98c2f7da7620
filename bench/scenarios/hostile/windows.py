"""Windows with and without an attack: how regular users are served in them, and what service and machine use."""

import contextlib
import os
import re
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.lib.cpu import DISTURBED, busy_machine, cpu_of_matching, cpu_of_this_scenario
from bench.lib.stats import quantile
from bench.scenarios.hostile.clients import ATTACKERS_NICE, PROCESSES, SETTLE_TIMEOUT, Worker, answers, settles

READY_TIMEOUT = 10
# How far p99 may rise during an attack: this many times, and milliseconds that are the scheduler's.
MAX_RATIO, NOISE_MS = 2, 5


class Disturbance:
    """CPU that the rest of the machine uses from now on, as a share of one core."""

    def __init__(self, instances):
        self.pids = [instance.process.pid for instance in instances]
        self.begun = time.monotonic(), self.busy()

    def busy(self):
        served = cpu_of_matching(lambda pid, *_: pid in self.pids)
        return busy_machine() - served - cpu_of_this_scenario()

    def share(self):
        since, busy = self.begun
        return (self.busy() - busy) / (time.monotonic() - since)


@dataclass
class Window:
    """Answers to regular users, and how much CPU others used meanwhile."""

    rows: list
    disturbance: float

    def p99(self, name):
        return quantile([took for own, _, took in self.rows if own == name], 0.99)


def open_descriptors(pid):
    # The directory's size is their number since Linux 6.2. Listing thousands takes milliseconds of the clients' core.
    directory = f"/proc/{pid}/fd"
    return os.stat(directory).st_size or len(os.listdir(directory))


class Usage:
    """Peaks of memory (MiB) and descriptors that processes have used since this was created."""

    def __init__(self, instances):
        self.instances, self.memory, self.descriptors = instances, {}, {}
        for instance in instances:
            # The kernel starts a new peak.
            with contextlib.suppress(OSError):
                Path(f"/proc/{instance.process.pid}/clear_refs").write_text("5")
        self.sample()

    def sample(self):
        for instance in self.instances:
            pid = instance.process.pid
            # A process that has died keeps its last figures.
            with contextlib.suppress(OSError, TypeError):
                peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
                self.memory[pid] = max(self.memory.get(pid, 0), peak)
                self.descriptors[pid] = max(self.descriptors.get(pid, 0), open_descriptors(pid))


def log_lines(instances, holding=""):
    """How many lines of the instances' logs hold a text."""
    count = 0
    for log in {instance.log for instance in instances}:
        with open(log, errors="replace") as lines:
            count += sum(holding in line for line in lines)
    return count


def death(instance):
    last = instance.log.read_text(errors="replace").strip().rpartition("\n")[2]
    return f"process {instance.name} ended with {instance.process.returncode}: {last[:300]}"


@dataclass
class Comparison:
    """Regular users in windows without the attack and with it, and what the attackers counted."""

    calm: list = field(default_factory=list)
    attacked: list = field(default_factory=list)
    attackers: list = field(default_factory=list)
    seconds: float = 0
    idle_memory: float = 0
    peak_memory: float = 0
    descriptors: int = 0
    lines: int = 0
    audited: int = 0
    problems: list = field(default_factory=list)

    def succeeded(self, name="calm"):
        """How many requests were answered with 2xx during the attack, and how many were sent."""
        rows = [status for window in self.attacked for own, status, _ in window.rows if own == name]
        return sum(200 <= status < 300 for status in rows), len(rows)

    def refused(self):
        statuses = [status for window in self.attacked for _, status, _ in window.rows if not 200 <= status < 300]
        return ", ".join(f"{statuses.count(status)} × {status or 'no answer'}" for status in sorted(set(statuses)))

    @staticmethod
    def p99(windows, name="calm"):
        """The median of the p99 of the least disturbed windows, which are more than half of all."""
        quiet = sorted(windows, key=lambda window: window.disturbance)[: len(windows) // 2 + 1]
        return statistics.median(window.p99(name) for window in quiet)

    def is_quick(self):
        return self.p99(self.attacked) <= MAX_RATIO * self.p99(self.calm) + NOISE_MS

    def is_decided(self):
        """Whether no more windows are needed. They are if p99 rose too far, and others may have caused that."""
        good, sent = self.succeeded()
        quiet = [sum(window.disturbance <= DISTURBED for window in windows) for windows in (self.calm, self.attacked)]
        return good < sent or self.is_quick() or 2 * min(quiet) > len(self.calm)

    def count(self, *key):
        key = key[0] if len(key) == 1 else key
        return sum(counts[key] for counts in self.attackers)


class Observer:
    """Measures pairs of windows: one without the attack, then one with it."""

    def __init__(self, pairs, seconds):
        self.pairs, self.seconds = pairs, seconds

    def compare(self, instances, traffic, attackers, seconds=None):
        """Windows until enough are undisturbed.

        `attackers` returns, for the window's number, functions that processes of their own run. Each is passed two
        events: it sets the first when its attack has begun, and ends when the second is set.
        """
        seconds, found = seconds or self.seconds, Comparison()
        Worker(0, answers, traffic, 1).wait()
        found.idle_memory = sum(instance.memory() for instance in instances)
        for window in range(2 * self.pairs):
            if window >= self.pairs and found.is_decided():
                break
            disturbance = Disturbance(instances)
            rows = Worker(0, answers, traffic, seconds).wait()
            found.calm.append(Window(rows, disturbance.share()))
            lines, audited = log_lines(instances), log_lines(instances, " audit: ")
            usage, disturbance, begun = Usage(instances), Disturbance(instances), time.monotonic()
            with self.attacking(attackers(window)) as (workers, stop):
                rows = Worker(0, answers, traffic, seconds).wait(usage.sample)
                stop.set()
                found.attackers += [worker.wait(usage.sample) for worker in workers]
            found.attacked.append(Window(rows, disturbance.share()))
            found.seconds += time.monotonic() - begun
            found.peak_memory = max(found.peak_memory, sum(usage.memory.values()))
            found.descriptors = max(found.descriptors, usage.descriptors[instances[0].process.pid])
            found.lines += log_lines(instances) - lines
            found.audited += log_lines(instances, " audit: ") - audited
            died = [death(instance) for instance in instances if instance.process.poll() is not None]
            if died:
                found.problems += died
                break
            if not settles(traffic):
                found.problems.append(f"regular users were not served {SETTLE_TIMEOUT} s after the attack")
                break
        return found

    @staticmethod
    @contextlib.contextmanager
    def attacking(works):
        stop, events, workers = PROCESSES.Event(), [PROCESSES.Event() for _ in works], []
        try:
            workers += [Worker(ATTACKERS_NICE, work, ready, stop) for work, ready in zip(works, events)]
            for ready in events:
                ready.wait(READY_TIMEOUT)
            yield workers, stop
        finally:
            for worker in workers:
                worker.end()
