"""Windows of calm and of attack: how the calm user was served in them, and what the service and the machine did."""

import contextlib
import os
import re
import resource
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from calm_user import ATTACKERS_NICE, PROCESSES, SETTLES_IN, Worker, answers, settles
from measuring import all_busy, cpu_seconds, quantile

READY_IN = 10
# How many times the calm 99th percentile it may be beside an attack, and milliseconds that are the scheduler's.
FACTOR, NOISE = 2, 5
# A window in which others take more of a core is disturbed.
DISTURBED = 0.15


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


def open_descriptors(pid):
    # Linux tells since 6.2; to list thousands takes milliseconds, which are missing elsewhere.
    directory = f"/proc/{pid}/fd"
    return os.stat(directory).st_size or len(os.listdir(directory))


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
                self.descriptors[pid] = max(self.descriptors.get(pid, 0), open_descriptors(pid))


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
