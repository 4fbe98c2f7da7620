"""Private services for scripts/hostile, their users, and what became of an attack on them."""

import contextlib
from dataclasses import dataclass, field

from beside import DISTURBED, Beside, Observer
from calm_user import SERVICE, Habit
from measuring import CHEAP, PASSWORD, TOKEN, Client, running, until

# How much an attack may add to what an instance, or gateway and instances, use.
MEMORY = 192
# Where an instance that goes wrong ends, so that the machine does not.
ADDRESS_SPACE = 6 << 30
USERS = 24
# The calm user's proxy; attackers connect from other addresses, and nobody believes them.
PROXY = "127.0.0.1"


@dataclass
class Result:
    """A row of the table."""

    number: str
    title: str
    found: Beside
    noted: dict = field(default_factory=dict)
    broken: list = field(default_factory=list)

    def require(self, holds, sentence):
        if not holds:
            self.broken.append(sentence)

    def judge(self):
        found = self.found
        self.broken += found.problems
        good, asked = found.succeeded()
        self.require(good == asked > 0, f"the calm user was served {good} of {asked} times ({found.refused()})")
        calm, beside = found.p99(found.calm), found.p99(found.beside)
        self.require(found.is_as_quick(), f"p99 rose from {calm:.1f} to {beside:.1f} ms")
        growth = found.peak_memory - found.idle_memory
        self.require(growth <= MEMORY, f"memory grew by {growth:.0f} MiB")
        return self

    def row(self):
        found = self.found
        good, asked = found.succeeded()
        return {
            "number": self.number,
            "attack": self.title,
            "calm_requests": asked,
            "calm_requests_served": good,
            "p99_calm_ms": round(found.p99(found.calm), 1),
            "p99_beside_ms": round(found.p99(found.beside), 1),
            "rss_idle_mib": round(found.idle_memory),
            "rss_peak_mib": round(found.peak_memory),
            "windows": len(found.beside),
            "disturbed": sum(window.disturbance > DISTURBED for window in [*found.calm, *found.beside]),
            "log_lines": found.lines,
            "attacked_seconds": round(found.seconds, 1),
            "noted": self.noted,
            "broken": self.broken,
        }


class Lab:
    """Where attacks are made: the binary, and how long each lasts."""

    def __init__(self, binary, short):
        self.binary, self.short = binary, short
        self.observer = Observer(2, 1.5) if short else Observer(5, 3)
        # What a short run holds open is a fraction.
        self.share = 0.125 if short else 1

    def scaled(self, count):
        return max(8, int(count * self.share))

    def settings(self, **settings):
        """Cheap hashes, the usual log, the calm user's proxy, and these."""
        usual = {"SYMBOLON_LOG": "info,sqlx=warn", "SYMBOLON_TRUSTED_PROXIES": PROXY}
        return CHEAP | usual | {f"SYMBOLON_{name.upper()}": str(value) for name, value in settings.items()}

    def prefix(self, descriptors=None):
        limit = [f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        cores = ["taskset", "--cpu-list", ",".join(map(str, SERVICE))]
        return ["setpriv", "--pdeathsig", "KILL", *cores, "prlimit", f"--as={ADDRESS_SPACE}", *limit]

    def instance(self, settings=None, descriptors=None):
        return running(self.binary, settings or self.settings(), prefix=self.prefix(descriptors))

    @contextlib.contextmanager
    def gateway(self, nodes=1, settings=None, descriptors=None, fleet=False):
        """A gateway and its instances: those of the fleet, or ones whose addresses it is told. Instances trust it."""
        settings = settings or self.settings()
        with running(self.binary, settings, nodes, prefix=self.prefix()) as instances:
            data = {"SYMBOLON_DATA": str(instances[0].log.parent / "data")} if fleet else {}
            addresses = [] if fleet else [word for node in instances for word in ("--node", f"http://127.0.0.1:{node.port}")]
            arguments = ["gateway", *addresses]
            with running(self.binary, settings | data, prefix=self.prefix(descriptors), arguments=arguments) as (gateway,):
                until("the gateway serves", lambda: Client(gateway.port).raw("GET", "/v1/session")[0] == 401)
                yield [gateway, *instances]


def forwarded(number):
    """An address of a calm user that nobody else has."""
    return f"10.1.{number >> 8 & 255}.{number & 255}"


def register(port, names, password=PASSWORD):
    """Registers users, each from an address of its own."""
    client = Client(port)
    for number, name in enumerate(names):
        body = {"login_name": name, "password": password, "profile": {"name": name, "email": "user@example.com"}}
        status, _, answer = client.raw("POST", "/v1/users", body, address=f"10.2.{number >> 8 & 255}.{number & 255}")
        assert status == 201, (status, answer)


def login_body(name, password=PASSWORD):
    return {"login_name": name, "password": password}


def logins(port, rate=40, **more):
    """Users that log in, each at an address of its own."""
    names = [f"calm-{number}" for number in range(USERS)]
    register(port, names)
    requests = [("POST", "/v1/login", login_body(name), None, forwarded(number)) for number, name in enumerate(names)]
    return Habit(port, requests, rate, **more)


def sessions(port, through=None, **more):
    """Users that ask who they are; through a gateway if its port is named."""
    names = [f"reader-{number}" for number in range(USERS)]
    register(port, names)
    client, requests = Client(port), []
    for number, name in enumerate(names):
        status, answer = client.login(name, address=forwarded(number))
        assert status == 200, (status, answer)
        requests.append(("GET", "/v1/session", None, answer["token"], forwarded(number)))
    return Habit(through or port, requests, **more)


def operator(port, source="127.0.0.1", name="operator", address="10.3.0.1"):
    """An operator with the right token, on a new connection each time."""
    requests = [("GET", "/v1/operator/stats", None, TOKEN, address)]
    return Habit(port, requests, 4, name, threads=1, fresh=True, source=source)


def newcomers(port):
    """Users on new connections each, who ask for what is open to all."""
    return Habit(port, [("GET", "/v1/health/live", None, None, None)] * 2, 10, "newcomers", threads=2, fresh=True)
