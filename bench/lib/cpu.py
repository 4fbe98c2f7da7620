"""Processor time of processes and of the machine, from /proc."""

import contextlib
import os
import resource
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
# A measurement during which other processes, or other machines on the same hardware, take more of a core is disturbed.
DISTURBED = 0.15


def cpu_of_matching(matches):
    """Processor seconds of all processes for which `matches(pid, name, parent)` holds.

    Children that have ended are included, because a server's connections come and go.
    """
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is read.
        with contextlib.suppress(OSError):
            before, _, after = stat.read_text().rpartition(")")
            fields, name = after.split(), before.partition("(")[2]
            if matches(int(stat.parent.name), name, int(fields[1])):
                total += sum(map(int, fields[11:15]))
    return total / TICK


def cpu_of(pids):
    """Processor seconds of processes, without those of their children."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / TICK
    return used


def cpu_of_this_scenario():
    """Processor seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def busy_time(fields):
    """Seconds in which a core did something, stolen ones included, of a line of /proc/stat without its name."""
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / TICK


def busy_machine():
    """Busy seconds of all cores together."""
    return busy_time(Path("/proc/stat").read_text().split()[1:9])


def busy_cores():
    """Busy seconds and all seconds, by core."""
    cores = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:] and int(name[3:]) in CORES:
            cores[int(name[3:])] = busy_time(fields), sum(map(int, fields[:8])) / TICK
    return cores
