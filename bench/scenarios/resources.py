"""Resource figures of an instance in a control group, beside the kernel's files and the whole machine.

The group has a quota of CPU time and a memory limit. Phases:

  idle    nothing
  cpu     logins on four connections, which hash more than the quota allows
  memory  another process of the group holds memory
  cache   another process reads a file: pages that can be given up are not in use
  kill    another process wants more than the limit, and is killed

Groups of version 1, version 2 or both are created below the scenario's own, or at the top, which needs root. With
--above the limits are those of a group above the service's.

Promised: the service's figures are the kernel's.
"""

import os
import signal
import tempfile
import time
from pathlib import Path

from bench.lib.control_groups import HOLD_MEMORY, MIB, Groups, pressure_of, process_in
from bench.lib.cpu import busy_machine
from bench.lib.instance import NO_THROTTLE, running
from bench.lib.load import login_storm
from bench.lib.processes import until
from bench.lib.results import Outcome
from bench.lib.stats import rounded

SETTINGS = NO_THROTTLE | {"SYMBOLON_MONITOR_INTERVAL": "1s", "SYMBOLON_HASH_THREADS": "2"}
CLIENTS = 4
# Service and scenario don't read the files at the same moment.
TOLERANCE = {"cores": 0.06, "MiB": 12, "%": 12, "memory": 0}
READ_INPUT = "import sys; [0 for _ in iter(lambda: sys.stdin.buffer.read(1 << 16), b'')]; print('read', flush=True)"


def add_options(parser):
    parser.add_argument("--cores", type=float, default=0.5, help="the quota [default: %(default)s]")
    parser.add_argument("--memory", type=int, default=256, help="the limit in MiB [default: %(default)s]")
    parser.add_argument("--seconds", type=int, default=8, help="length of each phase [default: %(default)s]")
    parser.add_argument("--above", action="store_true", help="limit a group above the service's")


def run(options):
    groups = Groups(options.cores, options.memory, options.above)
    try:
        return run_phases(options, groups)
    finally:
        groups.remove()


def run_phases(options, groups):
    outcome = Outcome()

    def phase(name):
        columns, wrong = measure(groups, instance, options.seconds)
        outcome.add(name, columns)
        outcome.broken += [f"{name}: {one}" for one in wrong]

    prefix = groups.enter()
    with running(options.binary, SETTINGS, prefix=prefix) as (instance,), tempfile.TemporaryDirectory() as directory:
        time.sleep(2)
        phase("idle")
        with login_storm(instance, CLIENTS, pause=None):
            time.sleep(2)
            phase("cpu")
        with process_in(groups, HOLD_MEMORY, options.memory * 6 // 10):
            time.sleep(2)
            phase("memory")
        with uncached_file(directory, options.memory // 2) as file, process_in(groups, READ_INPUT, stdin=file):
            time.sleep(2)
            phase("cache")
        with process_in(groups, HOLD_MEMORY, options.memory * 2) as process:
            until("the kernel kills the process that wants too much", lambda: process.poll() is not None)
            if process.returncode != -signal.SIGKILL:
                outcome.broken.append(f"kill: the process ended with {process.returncode}")
        time.sleep(2)
        phase("kill")
    return outcome


def machine_memory():
    """Memory of the machine in use, and all of it, in MiB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    memory = {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines}
    return memory["MemTotal"] - memory["MemAvailable"], memory["MemTotal"]


def measure(groups, instance, seconds):
    """What service, kernel and machine say of the same seconds: a column each, and where the first two differ."""
    began, before, busy_before = time.monotonic(), groups.processor(), busy_machine()
    time.sleep(seconds)
    elapsed, after, busy_after = time.monotonic() - began, groups.processor(), busy_machine()
    host_used, host_total = machine_memory()
    limit, used, pages, kills = groups.memory()
    kernel_pressure = groups.pressure("cpu"), groups.pressure("memory")
    answer = instance.operator(f"resources?window={seconds}s")[1]
    now, mean = answer["current"], answer["average"]
    violations = instance.operator("resources/limits")[1]["violations"]

    cores = groups.cores
    used_cores, periods = (after[0] - before[0]) / elapsed, after[1] - before[1]
    host_cores, cpus = (busy_after - busy_before) / elapsed, os.cpu_count()
    some = {name: (mean["pressure"][name] or {}).get("some_avg10") for name in ("cpu", "memory")}
    rows = [
        ("cpu limit, cores", now["cpu_limit_cores"], cores, cpus),
        ("cpu used, cores", mean["cpu_used_cores"], used_cores, host_cores),
        ("cpu, %", mean["cpu_percent"], min(100, 100 * used_cores / cores), 100 * host_cores / cpus),
        ("throttled periods, %", mean["cpu_throttled_percent"], 100 * (after[2] - before[2]) / max(1, periods), None),
        ("memory limit, MiB", now["memory_limit_mb"], limit, host_total),
        ("memory used, MiB", now["memory_used_mb"], used, host_used),
        ("pages to give up, MiB", None, pages, None),
        ("memory, %", now["memory_percent"], 100 * used / limit, 100 * host_used / host_total),
        ("memory available, MiB", now["memory_available_mb"], limit - used, host_total - host_used),
        ("killed for memory", now["memory_oom_kills"], kills, None),
        ("cpu pressure, %", some["cpu"], kernel_pressure[0], pressure_of([Path("/proc/pressure/cpu")])),
        ("memory pressure, %", some["memory"], kernel_pressure[1], pressure_of([Path("/proc/pressure/memory")])),
    ]
    columns = [
        {"of": source} | {row[0]: rounded(row[index], 2) for row in rows}
        for index, source in enumerate(("service", "kernel's files", "machine"), 1)
    ]
    columns[0]["sources"] = " ".join(now["sources"][name].removeprefix("cgroup_") for name in ("cpu", "memory"))
    columns[0]["violations"] = " ".join(f"{one['resource']}:{one['severity']}" for one in violations) or "none"
    for column in columns[1:]:
        column |= {"sources": "", "violations": ""}
    return columns, list(differences(rows))


def differences(rows):
    for name, own, kernel, _ in rows:
        # Pressure is a mean that lags, read at another moment; the service has no figure for pages.
        is_compared = not name.startswith(("cpu pressure", "memory pressure", "pages"))
        if is_compared and (own is None or abs(own - kernel) > TOLERANCE[name.split()[-1]]):
            yield f"{name}: the service says {own}, the kernel {rounded(kernel, 2)}"


def uncached_file(directory, size):
    """A file of so many MiB whose pages are not in memory: the kernel charges them to the group that reads them."""
    path = Path(directory) / "pages"
    with open(path, "wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return open(path, "rb")
