"""The services that requests are sent to, on the same stores, and wrk, which sends them."""

import contextlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.lib.cpu import cpu_of_matching
from bench.lib.instance import CHEAP_HASHES, NO_THROTTLE, Instance
from bench.lib.postgres import SHARDS, postgres_shards
from bench.lib.processes import until
from bench.lib.redis import private_redis
from bench.scenarios.reads import peers
from bench.scenarios.reads.users import import_users, issue_sessions, request_lines

SYMBOLON, UNBATCHED, BEFORE = "symbolon", "without batches", "build before"
CALLGRIND = Path(__file__).with_name("callgrind.py")
NO_BATCHES = {"SYMBOLON_SHARD_BATCH_SIZE": "1", "SYMBOLON_SESSION_BATCH_SIZE": "1"}
MAX_SESSIONS = 100_000  # users with a session
LOGIN_ACCOUNTS = 200

# Sends lines of method, path, token and body in an order in which neighbours are far apart.
WRK_SCRIPT = """
local requests, at = {}, 0
init = function(args)
  for line in io.lines(args[1]) do
    local method, path, token, body = line:match("(%S+) (%S+) (%S+) ?(.*)")
    local head = method .. " " .. path .. " HTTP/1.1\\r\\nHost: x\\r\\n"
    if token ~= "-" then head = head .. "Authorization: Bearer " .. token .. "\\r\\n" end
    if body ~= "" then head = head .. "Content-Type: application/json\\r\\nContent-Length: " .. #body .. "\\r\\n" end
    requests[#requests + 1] = head .. "\\r\\n" .. body
  end
  at = math.random(0, #requests - 1)
end
request = function()
  at = (at + 7919) % #requests
  return requests[at + 1]
end
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("RESULT %f %f %f %d\\n", summary.requests * 1e6 / summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
"""


def send(port, requests, script, connections, seconds):
    """Requests a second, p50 and p99 in milliseconds, and the number of failed requests."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        script,
        f"http://127.0.0.1:{port}",
        "--",
        requests,
    ]
    out = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    rate, p50, p99, failed = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", out).groups()
    return float(rate), float(p50), float(p99), int(failed)


class Target:
    """A process to send requests to, its port, and a file of requests for each kind that it answers."""

    def __init__(self, name, process, port, files, memory=None):
        self.name, self.pid, self.port, self.files, self.memory = name, process.pid, port, files, memory

    def measure(self, kind, script, connections, seconds):
        """As `send`, and microseconds of CPU for each request, of the process and of the stores."""
        before = self.own_cpu(), stores_cpu()
        result = send(self.port, self.files[kind], script, connections, seconds)
        used = self.own_cpu() - before[0], stores_cpu() - before[1]
        return result + tuple(cpu * 1e6 / (result[0] * seconds) for cpu in used)

    def own_cpu(self):
        return cpu_of_matching(lambda pid, _, parent: self.pid in (pid, parent))


class CountedTarget(Target):
    """A target in callgrind, whose instructions are counted."""

    def __init__(self, work, *target):
        super().__init__(*target)
        self.work, self.counted = work, 0

    def own_cpu(self):
        """Billions of instructions; `measure` makes thousands for each request of them."""
        subprocess.run(["callgrind_control", "-d", str(self.pid)], check=True, stdout=subprocess.DEVNULL)
        dumps = list(self.work.glob(f"callgrind.out.{self.pid}.*"))
        for dump in dumps:
            self.counted += int(re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)[1])
            dump.unlink()
        return self.counted / 1e9


def stores_cpu():
    return cpu_of_matching(lambda _, name, __: name in ("postgres", "redis-server"))


@contextlib.contextmanager
def own_stores():
    """URLs of private PostgreSQL servers by shard, and of a private Redis."""
    with postgres_shards(SHARDS) as shards, private_redis() as redis:
        yield {name: shard.url for name, shard in shards.items()}, redis.url


@contextlib.contextmanager
def peers_stores(directory):
    with peers.stores(directory):
        yield peers.SHARDS, peers.REDIS


@contextlib.contextmanager
def prepared(binary, users, options):
    """Targets on stores that hold this many users, and the path of the script for wrk."""
    with contextlib.ExitStack() as stack:
        shards, redis = stack.enter_context(peers_stores(options.peers) if options.peers else own_stores())
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setting = ",".join(f"{name}={url}" for name, url in shards.items())
        # The older build first: it may not start on what the newer one has migrated.
        ids = import_users(options.before or binary, work, setting, users)
        stores = {"SYMBOLON_SHARDS": setting, "SYMBOLON_REDIS_URL": redis}
        instances = start_variants(stack, binary, work, stores, options)
        pairs = issue_sessions(instances[SYMBOLON], ids[:: max(1, users // MAX_SESSIONS)])
        names = [f"login-{number}" for number in range(LOGIN_ACCOUNTS)]
        for name in names:
            instances[SYMBOLON].client().register(name)
        files = {kind: work / kind for kind in options.kinds}
        for kind, file in files.items():
            file.write_text(request_lines(kind, pairs, names))
        targets = []
        for name, instance in instances.items():
            target = name, instance.process, instance.port, files, instance.memory
            targets.append(CountedTarget(instance.log.parent, *target) if options.instructions else Target(*target))
        if options.peers:
            targets += start_peers(stack, work, min(users, MAX_SESSIONS), options)
        for url in shards.values():
            subprocess.run(["psql", "-qc", "VACUUM ANALYZE", url], check=True, stderr=subprocess.DEVNULL)
        script = work / "requests.lua"
        script.write_text(WRK_SCRIPT)
        yield targets, script


def start_variants(stack, binary, work, stores, options):
    """The instances by name; Symbolon as it is comes last."""
    other = {BEFORE: (options.before, {})} if options.before else {UNBATCHED: (binary, NO_BATCHES)}
    instances = {}
    for name, (program, own_settings) in (other | {SYMBOLON: (binary, {})}).items():
        directory = work / name.replace(" ", "-")
        directory.mkdir()
        settings, prefix = CHEAP_HASHES | NO_THROTTLE | stores | own_settings, ()
        if options.instructions:
            prefix = [sys.executable, str(CALLGRIND), f"--callgrind-out-file={directory}/callgrind.out.%p"]
            # Everything is slow in valgrind, which admission would take for overload.
            settings |= {"SYMBOLON_ADMISSION": "off"}
        instance = instances[name] = Instance(program, directory / "data", settings, prefix)
        stack.callback(instance.process.wait)
        stack.callback(instance.process.terminate)
        until("the service is ready", instance.is_ready)
    return instances


def start_peers(stack, work, users, options):
    targets = []
    for name, process in stack.enter_context(peers.running_peers(options.peers, users)).items():
        port, kinds = peers.PEERS[name]
        files = {kind: work / f"peers-{kind}" for kind in kinds if kind in options.kinds}
        for kind, file in files.items():
            file.write_text(peers.request_lines(kind, users))
        targets.append(Target(name, process, port, files))
    return targets
