"""Pressure on instances in control groups of their own: which knobs the tuner turns, the effect, and the way back.

  cpu     a login storm on two hashing threads, in a quota of 1.4 cores
  memory  four logins at a time and another process' memory, below a limit of 200 MiB
  disk    preferences written and removed again, and another file, on a disk of 48 MiB

All three run at once. The tuner runs every ten seconds instead of every minute, so ten minutes are sixty cycles. Needs
root, for control groups and the disk. Run it with nothing else on the machine: the first needs 1.4 cores.

Promised: a knob is turned, none goes to and fro under the same pressure, and all are back to normal in the end.
"""

import contextlib
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.lib.control_groups import HOLD_MEMORY, MIB, Groups, process_in
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, running
from bench.lib.load import login_storm
from bench.lib.results import Outcome
from bench.lib.stats import rounded

TUNER_INTERVAL = 10
COMMON = NO_THROTTLE | {
    "SYMBOLON_MONITOR_INTERVAL": "1s",
    "SYMBOLON_TUNER_INTERVAL": f"{TUNER_INTERVAL}s",
    "SYMBOLON_HASH_QUEUE_TIMEOUT": "5s",
}
# How long the way back may take: a few steps, each after three intervals of calm.
MAX_WAY_BACK = 25 * TUNER_INTERVAL
USERS = 400
PREFERENCE = "x" * 60_000


def add_options(parser):
    parser.add_argument("--minutes", type=float, default=10, help="length of the pressure [default: %(default)s]")
    parser.add_argument("--held", type=int, default=72, help="MiB that the other process holds [default: %(default)s]")
    parser.add_argument("--only", choices=list(PREPARATIONS), action="append", help="this kind of pressure")


def run(options):
    outcome, threads = Outcome(), []
    kinds = options.only or list(PREPARATIONS)
    for kind in kinds:
        arguments = (kind, options, PREPARATIONS[kind], outcome)
        threads.append(threading.Thread(target=observe, args=arguments))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for kind in kinds:
        if kind not in outcome.tables:
            outcome.broken.append(f"{kind}: the measurement did not end")
    return outcome


def observe(kind, options, prepare, outcome):
    """Puts one instance under pressure; adds a table of what the tuner did."""
    with contextlib.ExitStack() as stack:
        instance, pressure = prepare(options, stack)
        watch = TunerWatch(instance)
        with pressure():
            time.sleep(options.minutes * 60)
            ended = round(time.time() - watch.started_at)
        deadline = time.monotonic() + MAX_WAY_BACK
        while not watch.is_normal() and time.monotonic() < deadline:
            time.sleep(1)
        rows = [
            {
                "at": f"{second} s",
                "pressure": "yes" if second <= ended else "ended",
                "rule": action["rule"].removesuffix("_optimization"),
                "knob": action["knob"],
                "from": action["before"],
                "to": action["after"],
                "before, %": round(action["effect"]["before"], 1),
                "a cycle later, %": rounded(action["effect"]["after"]),
            }
            for second, action in watch.actions()
        ]
        outcome.broken += broken_promises(kind, rows)
        if not watch.is_normal():
            outcome.broken.append(
                f"{kind}: knobs were not back to normal {MAX_WAY_BACK} s after the pressure had ended"
            )
        outcome.add(kind, rows or [{"at": "never"}], across=False)


def broken_promises(kind, rows):
    own = [row for row in rows if row["rule"] == kind]
    if not own:
        yield f"{kind}: no knob was turned"
    steps_of = {}
    for row in own:
        if row["pressure"] == "yes":
            steps_of.setdefault(row["knob"], []).append((row["from"], row["to"]))
    for knob, steps in steps_of.items():
        values = [steps[0][0]] + [step[1] for step in steps]
        # A way back is expected where the knob ended the pressure, and one relapse is what the tuner needs to learn.
        if len(values) - len(set(values)) > max(2, len(set(values))):
            yield f"{kind}: {knob} went to and fro: {values}"


class TunerWatch:
    """What the tuner of an instance does from now on."""

    def __init__(self, instance):
        self.instance, self.started_at = instance, time.time()

    def tuning(self):
        return self.instance.operator("tuning?cycles=1000")[1]

    def is_normal(self):
        return all(knob["value"] == knob["normal"] for knob in self.tuning()["knobs"])

    def actions(self):
        """Each action with the second in which it was, oldest first."""
        for record in reversed(self.tuning()["history"]):
            moment = time.mktime(time.strptime(record["timestamp"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
            for action in record["actions"]:
                yield round(moment - self.started_at), action


def start_in(groups, settings, stack, options):
    """An instance in control groups, which are removed after it has ended."""
    stack.callback(groups.remove)
    (instance,) = stack.enter_context(running(options.binary, settings, prefix=groups.enter()))
    return instance


def prepare_cpu(options, stack):
    settings = COMMON | {"SYMBOLON_HASH_THREADS": "2"}
    instance = start_in(Groups(1.4, 512, label="cpu"), settings, stack, options)
    return instance, lambda: login_storm(instance, 6, None)


def prepare_memory(options, stack):
    groups, settings = Groups(1.9, 200, label="memory"), COMMON | {"SYMBOLON_HASH_THREADS": "4"}
    instance = start_in(groups, settings, stack, options)

    @contextlib.contextmanager
    def pressure():
        with process_in(groups, HOLD_MEMORY, options.held), login_storm(instance, 4, 3.0):
            yield

    return instance, pressure


def prepare_disk(options, stack):
    groups, directory = Groups(1.9, 512, label="disk"), stack.enter_context(small_disk(48))
    settings = COMMON | CHEAP_HASHES | {"SYMBOLON_DATA_DIR": str(directory / "data")}
    instance = start_in(groups, settings, stack, options)

    @contextlib.contextmanager
    def pressure():
        write_and_remove(instance)
        free = int(subprocess.check_output(["df", "--output=avail", "-k", directory], text=True).split()[1])
        file = directory / "other"
        file.write_bytes(b"x" * max(0, free * 1024 - 3 * MIB))
        yield
        file.unlink()

    return instance, pressure


@contextlib.contextmanager
def small_disk(mebibytes):
    with tempfile.TemporaryDirectory() as directory:
        options = f"size={mebibytes}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


def write_and_remove(instance):
    """Leaves the space of large preferences unused in the files."""
    client = instance.client()
    for number in range(USERS):
        name = f"user-{number}"
        client.register(name)
        token = client.token(name)
        for value in (PREFERENCE, None):
            status, _ = client.request("PATCH", "/v1/users/me/preferences", {"large": value}, token)
            assert status == 200, status


PREPARATIONS = {"cpu": prepare_cpu, "memory": prepare_memory, "disk": prepare_disk}
