"""One case: the three proxies before the same upstreams, under the same load."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

from bench.lib.cpu import CORES, DISTURBED, busy_cores, cpu_of
from bench.lib.errors import MeasurementError
from bench.lib.processes import pinned, progress, until
from bench.scenarios.gateway.proxies import ALGORITHMS, COMMANDS, send, start_proxy

# Seconds of load before each measurement, and before the first one of a proxy.
WARM_UP, FIRST_WARM_UP = 0.5, 2
# How often a disturbed measurement is repeated, and how long the scenario waits for quiet before that.
TRIES, QUIET_TIMEOUT = 5, 30


def wait_for_quiet():
    """Waits until nothing else is busy, or for `QUIET_TIMEOUT` seconds."""
    end = time.monotonic() + QUIET_TIMEOUT
    while time.monotonic() < end:
        before = busy_cores()
        time.sleep(1)
        if sum(after[0] - before[core][0] for core, after in busy_cores().items()) < DISTURBED:
            return


class Case:
    """A load of one kind of request. `delays` are the upstreams', in milliseconds."""

    def __init__(self, title, path, connections, delays=(0,), choice="by load"):
        self.title, self.path, self.connections = title, path, connections
        self.delays, self.algorithms = delays, ALGORITHMS[choice]

    def measure(self, options, broken):
        """The figures of each proxy, in each round."""
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            self.start_upstreams(options, stack)
            proxies = [self.start(name, options, directory, stack) for name in COMMANDS]
            expected = send(self.nodes[0], self.path)
            for proxy in proxies:
                until(f"{proxy.name} answers", proxy.is_ready)
                if send(proxy.address, self.path) != expected:
                    broken.append(f"{self.title}: {proxy.name}: the response is not the upstream's")
            return [
                {proxy.name: self.measure_proxy(proxy, number, options, broken) for proxy in proxies}
                for number in range(options.rounds)
            ]

    def start_upstreams(self, options, stack):
        self.upstreams, self.nodes = [], []
        for delay in self.delays:
            command = [options.generator, "upstream", "127.0.0.1:0", "--delay-ms", delay]
            process = stack.enter_context(pinned(command, CORES[1:], stdout=subprocess.PIPE))
            self.upstreams.append(process.pid)
            self.nodes.append(process.stdout.readline().strip())

    def start(self, name, options, directory, stack):
        is_large = self.path != "/small"
        algorithm = self.algorithms[name]
        return start_proxy(name, options.binary, directory, self.nodes, algorithm, is_large, CORES[:1], stack)

    def measure_proxy(self, proxy, number, options, broken):
        """A measurement that nothing disturbed, or the least disturbed of `TRIES`."""
        tries = []
        while len(tries) < TRIES and (not tries or tries[-1]["disturbance"] > DISTURBED):
            if tries:
                wait_for_quiet()
            found = self.load(proxy, FIRST_WARM_UP if number == 0 and not tries else WARM_UP, options)
            if found["errors"] or not found["requests"]:
                broken.append(f"{self.title}: {proxy.name}: {found['requests']} answers, errors: {found['errors']}")
            text = f"{found['rate']:.0f}/s, p99 {found['p99']:.2f} ms, {found['cpu']:.1f} µs"
            if found["disturbance"] > DISTURBED:
                text += f"; other processes took {found['disturbance']:.0%} of a core"
            progress(f"{self.title}, round {number + 1}: {proxy.name}: {text}")
            tries.append(found)
        return min(tries, key=lambda found: found["disturbance"])

    def load(self, proxy, warm_up, options):
        """One measurement: what the load found, and what processes and cores did meanwhile."""
        command = [options.generator, "load", proxy.address, self.connections, options.seconds, self.path]
        served_before = self.served()
        with pinned([*command, "--warm-up", warm_up], CORES[1:], stdout=subprocess.PIPE) as load:
            samples = []
            for word in ("begun", "ended"):
                if load.stdout.readline().strip() != word:
                    raise MeasurementError(f"{self.title}: {proxy.name}: the load ended early")
                own, known = cpu_of(proxy.pids()), cpu_of([*self.upstreams, load.pid, os.getpid()])
                samples.append((time.monotonic(), own, known, busy_cores()))
            found = json.loads(load.stdout.readline())
        served = [now - then for now, then in zip(self.served(), served_before)]
        elapsed, own, known = (now - then for then, now in zip(*(sample[:3] for sample in samples)))
        then, now = (sample[3] for sample in samples)
        busy = {core: now[core][0] - then[core][0] for core in CORES}
        shares = [busy[core] / (now[core][1] - then[core][1]) for core in CORES]
        return found | {
            "rate": found["requests"] / found["seconds"],
            "cpu": own / max(found["requests"], 1) * 1e6,
            "memory": proxy.memory(),
            "own core": shares[0],
            "other cores": max(shares[1:]),
            "disturbance": max(0, (sum(busy.values()) - own - known) / elapsed),
            "slow share": served[-1] / max(sum(served), 1),
        }

    def served(self):
        """How many requests each upstream has had."""
        return [int(send(node, "/count")[1]) for node in self.nodes]
