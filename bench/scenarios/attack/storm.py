"""A login storm beside reads, and bare argon2id."""

import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict

from bench.lib.cpu import DISTURBED, busy_machine, cpu_of, cpu_of_this_scenario
from bench.lib.errors import MeasurementError
from bench.lib.instance import running
from bench.lib.load import Load, login_request, read_request, write_requests
from bench.lib.processes import DEADLINE
from bench.lib.stats import median_of, quantile
from bench.scenarios.attack.common import NO_ADDRESS_LIMIT, NO_NAME_LIMIT, PROXY

HASH_QUEUE_TIMEOUT_MS = 2000
MAX_GROWTH = 32  # MiB
READS = {"me": 100, "session": 100}  # a second


class Storm:
    """Load on one instance with this many hashing threads."""

    def __init__(self, binary, generator, threads, seconds):
        self.binary, self.generator, self.threads, self.seconds = binary, generator, threads, seconds

    def bare(self):
        """What argon2id alone computes in a second, in memory that each thread keeps."""
        command = [self.generator, "hash", str(self.threads), str(self.seconds / 2), "kept"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def prepare(self, client, directory):
        names = [f"user-{number}" for number in range(100)]
        for name in names:
            client.register(name)
        tokens = [client.token(name) for name in names[:20]]
        self.files = {kind: f"{directory}/{kind}" for kind in ("login", "me", "session")}
        forwarded = "X-Forwarded-For: {address}\r\n"
        write_requests(self.files["login"], [login_request(name, forwarded) for name in names])
        write_requests(self.files["me"], [read_request("/v1/users/me", token) for token in tokens])
        write_requests(self.files["session"], [read_request("/v1/session", token) for token in tokens])

    def load(self, instance, **rates):
        """Answers by kind and status."""
        kinds = {kind: (rate, self.files[kind]) for kind, rate in rates.items()}
        answers = defaultdict(list)
        for answer in Load(self.generator, instance.port, self.seconds, DEADLINE, kinds).answers():
            answers[answer.kind, answer.status].append(answer)
        return answers

    def round(self, instance, broken):
        before = self.bare()
        calm = self.load(instance, **READS)
        memory, samples, over = instance.memory(), [], threading.Event()

        def watch():
            while not over.wait(0.05):
                samples.append(instance.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        storm = self.load(instance, **READS, login=10 * before)
        over.set()
        watcher.join()
        after = self.bare()
        if others := {key: len(answers) for key, answers in storm.items() if not is_expected(*key)}:
            broken.append(f"storm: other answers: {others}")
        # The queue fills in the first second; after it the service is as busy as it gets.
        logins = [one for one in storm["login", 200] if 1000 <= one.ended <= self.seconds * 1000]
        goodput = len(logins) / (self.seconds - 1)
        refusals = took(storm, "login", 503) + took(storm, "login", 429)

        def p99(answers, kind):
            return quantile(took(answers, kind, 200), 0.99)

        return {
            "bare": (before + after) / 2,
            "offered": 10 * before,
            "goodput": goodput,
            "goodput ratio": goodput / ((before + after) / 2),
            "refusal p50": quantile(refusals, 0.5),
            "refusal p99": quantile(refusals, 0.99),
            "refusal max": max(refusals, default=0),
            "login p50": quantile(took(storm, "login", 200), 0.5),
            "login max": max(took(storm, "login", 200), default=0),
            "me calm": p99(calm, "me"),
            "me storm": p99(storm, "me"),
            "me ratio": p99(storm, "me") / p99(calm, "me"),
            "session calm": p99(calm, "session"),
            "session storm": p99(storm, "session"),
            "session ratio": p99(storm, "session") / p99(calm, "session"),
            "memory before": memory,
            "memory during": max(samples, default=memory),
            "memory after": instance.memory(),
        }

    def measure(self, rounds, broken):
        """The table's row, and the figures of every round that was not disturbed."""
        settings = PROXY | NO_ADDRESS_LIMIT | NO_NAME_LIMIT | {"SYMBOLON_HASH_THREADS": str(self.threads)}
        with running(self.binary, settings) as (instance,), tempfile.TemporaryDirectory() as directory:
            self.prepare(instance.client(), directory)
            self.load(instance, **READS, login=100)
            rows, left_out = [], 0
            while len(rows) < rounds and left_out < 20 * rounds:
                started = time.monotonic(), busy_machine(), own_cpu(instance)
                row = self.round(instance, broken)
                ended = time.monotonic(), busy_machine(), own_cpu(instance)
                elapsed, busy, own = (now - then for now, then in zip(ended, started))
                if (busy - own) / elapsed > DISTURBED:
                    left_out += 1
                else:
                    rows.append(row)
            if not rows:
                raise MeasurementError("storm: something else keeps the machine busy")
            longest_wait = instance.statistics()["password_hashing"]["longest_wait_milliseconds"]
        if longest_wait > HASH_QUEUE_TIMEOUT_MS:
            broken.append(f"storm: a login waited {longest_wait:.0f} ms to be hashed")
        growth = rows[-1]["memory after"] - rows[0]["memory before"]
        if growth > MAX_GROWTH:
            broken.append(f"storm: memory grew by {growth:.0f} MiB")
        return self.summary(rows, left_out, longest_wait), rows

    def summary(self, rows, left_out, longest_wait):
        return {
            "hashing threads": self.threads,
            "rounds": len(rows),
            "left out, as others used the CPU": left_out,
            "bare argon2id /s": f"{median_of(rows, 'bare'):.1f}",
            "logins offered /s": f"{median_of(rows, 'offered'):.0f}",
            "logins answered 200 /s": f"{median_of(rows, 'goodput'):.1f}",
            "as a ratio to bare (target 0.95)": spread(rows, "goodput ratio"),
            "refused, p50 ms": f"{median_of(rows, 'refusal p50'):.2f}",
            "refused, p99 ms": f"{median_of(rows, 'refusal p99'):.2f}",
            "refused, slowest ms": f"{median_of(rows, 'refusal max'):.1f}",
            "let in, p50 ms": f"{median_of(rows, 'login p50'):.0f}",
            "longest wait of a hash, ms": f"{longest_wait:.0f}",
            "GET /v1/users/me p99 calm, ms": f"{median_of(rows, 'me calm'):.2f}",
            "in the storm": f"{median_of(rows, 'me storm'):.2f}",
            "ratio (target 2)": spread(rows, "me ratio"),
            "GET /v1/session p99 calm, ms": f"{median_of(rows, 'session calm'):.2f}",
            "in the storm ": f"{median_of(rows, 'session storm'):.2f}",
            "ratio (target 2) ": spread(rows, "session ratio"),
            "memory before, MiB": f"{rows[0]['memory before']:.0f}",
            "maximum during": f"{max(row['memory during'] for row in rows):.0f}",
            "after": f"{rows[-1]['memory after']:.0f}",
        }


def own_cpu(instance):
    """CPU seconds of this scenario, its load and the instance."""
    return cpu_of([instance.process.pid]) + cpu_of_this_scenario()


def is_expected(kind, status):
    return status in (200, 429, 503) if kind == "login" else status == 200


def took(answers, kind, status):
    return [answer.took for answer in answers[kind, status]]


def spread(rows, name):
    values = [row[name] for row in rows]
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
