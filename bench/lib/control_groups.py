"""Control groups with limits, of version 1 or 2."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.lib.errors import MeasurementError

MIB = 1024 * 1024
HOLD_MEMORY = (
    "import sys; held = bytearray(b'x') * (int(sys.argv[1]) << 20); print('held', flush=True); sys.stdin.read()"
)


class Hierarchy:
    """Where groups are created: version 1 has a hierarchy for each controller, or for a few."""

    def __init__(self, version, controllers, place, own):
        self.version, self.controllers = version, controllers
        self.parents = [own, place] if own != place and own.is_dir() else [place]

    def make(self, name):
        """The directories of a group and of one in it."""
        reasons = []
        for parent in self.parents:
            outer = parent / name
            try:
                outer.mkdir()
                if self.version == 2 and self.controllers:
                    for group in (parent, outer):
                        (group / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in self.controllers))
                (outer / "inner").mkdir()
                return outer, outer / "inner"
            except OSError as error:
                reasons.append(str(error))
                remove([outer])
        raise MeasurementError(f"this machine allows no control group: {'; '.join(reasons)}")


def hierarchies():
    """Hierarchies by controller; `unified` is that of version 2, which has files of pressure."""
    paths = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, system = (part.split() for part in line.split(" - "))
        place, options = Path(mount[4]), system[2].split(",")
        if system[0] == "cgroup2":
            has = (place / "cgroup.controllers").read_text().split()
            controllers = [one for one in ("cpu", "memory") if one in has]
            hierarchy = Hierarchy(2, controllers, place, place / paths.get("", "/").lstrip("/"))
            found["unified"] = hierarchy
            found |= dict.fromkeys(controllers, hierarchy)
            if "cpu" in controllers:
                found["cpuacct"] = hierarchy
        elif system[0] == "cgroup":
            for names, path in paths.items():
                for one in set(names.split(",")) & set(options) & {"cpu", "cpuacct", "memory"}:
                    found[one] = Hierarchy(1, [one], place, place / path.lstrip("/"))
    missing = {"cpu", "cpuacct", "memory"} - set(found)
    if missing:
        names = ", ".join(sorted(missing))
        raise MeasurementError(f"this machine allows no control group: no visible hierarchy has {names}")
    return found


def remove(groups):
    """Removes groups whose processes have ended; the kernel takes a moment to notice that."""
    for group in groups:
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                try:
                    group.rmdir()
                except OSError:
                    time.sleep(0.05)
                    continue
            break


class Groups:
    """A group in each hierarchy with a quota of cores and a limit in MiB, and the kernel's figures of it.

    With `above` the limits are those of the group above.
    """

    def __init__(self, cores, memory, above=False, label="measured"):
        self.found, self.made, self.outer, self.inner = hierarchies(), [], {}, {}
        name = f"symbolon-{label}-{os.getpid()}"
        for controller, hierarchy in self.found.items():
            same = [one for one in self.outer if self.found[one].parents == hierarchy.parents]
            if same:
                self.outer[controller], self.inner[controller] = self.outer[same[0]], self.inner[same[0]]
                continue
            self.outer[controller], self.inner[controller] = hierarchy.make(name)
            self.made += [self.inner[controller], self.outer[controller]]
        self.cores, self.limited = cores, self.outer if above else self.inner
        quota, cpu = str(int(cores * 100_000)), self.limited["cpu"]
        # A high weight keeps other processes of the machine from taking of the quota.
        if self.found["cpu"].version == 2:
            (cpu / "cpu.max").write_text(f"{quota} 100000")
            (self.outer["cpu"] / "cpu.weight").write_text("10000")
        else:
            (cpu / "cpu.cfs_period_us").write_text("100000")
            (cpu / "cpu.cfs_quota_us").write_text(quota)
            (self.outer["cpu"] / "cpu.shares").write_text("65536")
        name = "memory.max" if self.found["memory"].version == 2 else "memory.limit_in_bytes"
        (self.limited["memory"] / name).write_text(str(memory * MIB))

    def enter(self):
        """A prefix that moves into the group and then runs a command."""
        places = {str(group / "cgroup.procs") for group in self.inner.values()}
        script = "".join(f"echo $$ >'{place}' && " for place in sorted(places)) + 'exec "$0" "$@"'
        return ["sh", "-c", script]

    def remove(self):
        remove(self.made)

    def processor(self):
        """Seconds used, periods, and periods cut short."""
        own, stat = self.inner["cpuacct"], values(self.limited["cpu"] / "cpu.stat")
        if self.found["cpuacct"].version == 2:
            used = values(own / "cpu.stat")["usage_usec"] / 1e6
        else:
            used = int((own / "cpuacct.usage").read_text()) / 1e9
        return used, stat["nr_periods"], stat["nr_throttled"]

    def memory(self):
        """Limit, use without pages that can be given up, and those pages, in MiB; and the number of kills."""
        own, limited = self.inner["memory"], self.limited["memory"]
        if self.found["memory"].version == 2:
            names = ("memory.max", "memory.current", "inactive_file", "memory.events")
        else:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
        limit, used = int((limited / names[0]).read_text()), int((own / names[1]).read_text())
        pages = values(own / "memory.stat")[names[2]]
        return limit / MIB, (used - pages) / MIB, pages / MIB, values(own / names[3])["oom_kill"]

    def pressure(self, resource):
        """Percent of the last ten seconds in which something waited for the resource."""
        places = [self.inner["unified"] / f"{resource}.pressure"] if "unified" in self.inner else []
        return pressure_of([*places, Path("/proc/pressure") / resource])


def values(path):
    """The numbers of a file of names and numbers."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {name: int(value) for name, value in lines}


def pressure_of(places):
    """The figure of the first file that can be read, if any."""
    for place in places:
        with contextlib.suppress(OSError):
            return float(re.search(r"some avg10=([\d.]+)", place.read_text())[1])
    return None


@contextlib.contextmanager
def process_in(groups, code, *arguments, stdin=subprocess.PIPE):
    """A Python process in the group, which the kernel kills first; waits for its first line."""
    command = ["choom", "-n", "1000", "--", *groups.enter(), sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
