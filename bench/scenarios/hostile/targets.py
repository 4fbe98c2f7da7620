"""Private services to attack, their regular users, and the verdict on an attack."""

import contextlib
from dataclasses import dataclass, field

from bench.lib.client import PASSWORD, Client, login_body
from bench.lib.cpu import DISTURBED
from bench.lib.instance import CHEAP_HASHES, OPERATOR_TOKEN, running
from bench.lib.processes import tied, until
from bench.scenarios.hostile.clients import SERVICE_CORES, Traffic
from bench.scenarios.hostile.windows import Comparison, Observer

# MiB that an attack may add to what an instance, or gateway and instances, use.
MAX_GROWTH = 192
# Ends an instance before it takes all memory of the machine.
MAX_ADDRESS_SPACE = 6 << 30
USERS = 24
# The regular users' proxy, whose X-Forwarded-For is trusted; attackers connect from other addresses.
PROXY = "127.0.0.1"


@dataclass
class Result:
    """One attack: a row of the table."""

    number: str
    title: str
    comparison: Comparison
    details: dict = field(default_factory=dict)
    broken: list = field(default_factory=list)

    def require(self, holds, sentence):
        """Notes a broken promise unless it holds."""
        if not holds:
            self.broken.append(sentence)

    def judge(self):
        found = self.comparison
        self.broken += found.problems
        good, sent = found.succeeded()
        self.require(good == sent > 0, f"regular users were served {good} of {sent} times ({found.refused()})")
        calm, attacked = found.p99(found.calm), found.p99(found.attacked)
        self.require(found.is_quick(), f"p99 rose from {calm:.1f} to {attacked:.1f} ms")
        growth = found.peak_memory - found.idle_memory
        self.require(growth <= MAX_GROWTH, f"memory grew by {growth:.0f} MiB")
        return self

    def row(self):
        found = self.comparison
        good, sent = found.succeeded()
        return {
            "number": self.number,
            "attack": self.title,
            "calm_requests": sent,
            "calm_requests_served": good,
            "p99_calm_ms": round(found.p99(found.calm), 1),
            "p99_beside_ms": round(found.p99(found.attacked), 1),
            "rss_idle_mib": round(found.idle_memory),
            "rss_peak_mib": round(found.peak_memory),
            "windows": len(found.attacked),
            "disturbed": sum(window.disturbance > DISTURBED for window in [*found.calm, *found.attacked]),
            "log_lines": found.lines,
            "attacked_seconds": round(found.seconds, 1),
            "noted": self.details,
            "broken": self.broken,
        }


class Testbed:
    """The binary to attack, and how long each attack lasts."""

    def __init__(self, binary, short):
        self.binary, self.short = binary, short
        self.observer = Observer(2, 1.5) if short else Observer(5, 3)
        # A short run holds this share of the connections open.
        self.share = 0.125 if short else 1

    def scaled(self, count):
        return max(8, int(count * self.share))

    def settings(self, **settings):
        """Cheap hashes, the default log, the regular users' proxy, and these settings."""
        usual = {"SYMBOLON_LOG": "info,sqlx=warn", "SYMBOLON_TRUSTED_PROXIES": PROXY}
        return CHEAP_HASHES | usual | {f"SYMBOLON_{name.upper()}": str(value) for name, value in settings.items()}

    def prefix(self, descriptors=None):
        limit = [f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        cores = ["taskset", "--cpu-list", ",".join(map(str, SERVICE_CORES))]
        return tied([*cores, "prlimit", f"--as={MAX_ADDRESS_SPACE}", *limit])

    def instance(self, settings=None, descriptors=None):
        return running(self.binary, settings or self.settings(), prefix=self.prefix(descriptors))

    @contextlib.contextmanager
    def gateway(self, nodes=1, settings=None, descriptors=None, fleet=False):
        """A gateway and its instances: those of the fleet, or ones whose addresses it is given. Instances trust it."""
        settings = settings or self.settings()
        with running(self.binary, settings, nodes, prefix=self.prefix()) as instances:
            data = {"SYMBOLON_DATA": str(instances[0].log.parent / "data")} if fleet else {}
            addresses = (
                [] if fleet else [word for node in instances for word in ("--node", f"http://127.0.0.1:{node.port}")]
            )
            arguments = ["gateway", *addresses]
            with running(self.binary, settings | data, prefix=self.prefix(descriptors), arguments=arguments) as (
                gateway,
            ):
                until("the gateway serves", lambda: Client(gateway.port).raw("GET", "/v1/session")[0] == 401)
                yield [gateway, *instances]


def forwarded(number):
    """A regular user's own address."""
    return f"10.1.{number >> 8 & 255}.{number & 255}"


def register(port, names, password=PASSWORD):
    """Registers users, each from an address of its own."""
    client = Client(port)
    for number, name in enumerate(names):
        client.register(name, password, f"10.2.{number >> 8 & 255}.{number & 255}")


def logins(port, rate=40, **more):
    """Users that log in, each at an address of its own."""
    names = [f"calm-{number}" for number in range(USERS)]
    register(port, names)
    requests = [("POST", "/v1/login", login_body(name), None, forwarded(number)) for number, name in enumerate(names)]
    return Traffic(port, requests, rate, **more)


def sessions(port, through=None, **more):
    """Users that read their session; through a gateway if its port is given."""
    names = [f"reader-{number}" for number in range(USERS)]
    register(port, names)
    client, requests = Client(port), []
    for number, name in enumerate(names):
        token = client.token(name, address=forwarded(number))
        requests.append(("GET", "/v1/session", None, token, forwarded(number)))
    return Traffic(through or port, requests, **more)


def operator(port, source="127.0.0.1", name="operator", address="10.3.0.1"):
    """An operator with the right token, on a new connection each time."""
    requests = [("GET", "/v1/operator/stats", None, OPERATOR_TOKEN, address)]
    return Traffic(port, requests, 4, name, threads=1, fresh=True, source=source)


def newcomers(port):
    """Users who read what is open to all, each request on a new connection."""
    return Traffic(port, [("GET", "/v1/health/live", None, None, None)] * 2, 10, "newcomers", threads=2, fresh=True)
