"""Start, memory and requests of one instance on embedded storage, and HTTP/1.1 beside HTTP/2.

Measures the time until ready, memory when idle and after each load, and requests a second: GET /v1/session and GET
/v1/users/me beside GET /v1/health/live, which does nothing but HTTP. Then h2load sends requests in turns over HTTP/1.1
and HTTP/2, always with 64 requests under way: requests a second, and CPU of the service for each request.

Installs ab, curl and h2load where they are missing.
"""

import re
import statistics
import subprocess
import time

from bench.lib.cpu import cpu_of
from bench.lib.errors import MeasurementError
from bench.lib.instance import running
from bench.lib.processes import install
from bench.lib.results import Outcome

PATHS = ["/v1/health/live", "/v1/session", "/v1/users/me"]
SHAPES = {
    "HTTP/1.1, 64 connections": ["--h1", "-c64"],
    "HTTP/2, 64 connections of 1 stream": ["-c64", "-m1"],
    "HTTP/2, 8 of 8": ["-c8", "-m8"],
    "HTTP/2, 1 of 64": ["-c1", "-m64"],
}


def add_options(parser):
    parser.add_argument("--requests", type=int, default=100_000, help="requests of each load [default: %(default)s]")
    parser.add_argument("--connections", type=int, default=32, help="of the first loads [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over HTTP/1.1 and HTTP/2 [default: %(default)s]")


def run(options):
    install({"ab": "apache2-utils", "h2load": "nghttp2-client"})
    outcome, begun = Outcome(), time.monotonic()
    # The log's levels are the defaults.
    with running(options.binary, {"SYMBOLON_LOG": "info,sqlx=warn"}) as (instance,):
        ready = (time.monotonic() - begun) * 1000
        rows = [
            {"": "start until ready", "figure": f"{ready:.0f} ms"},
            {"": "memory, idle", "figure": f"{instance.memory():.1f} MiB"},
        ]
        client = instance.client()
        client.register("ada")
        token = client.token("ada")
        client.connection.close()
        for path in PATHS:
            figure = apache_bench(instance, path, token, options)
            rows.append({"": f"GET {path}, {options.connections} connections", "figure": figure})
            rows.append({"": f"memory after {options.requests} of these", "figure": f"{instance.memory():.1f} MiB"})
        outcome.add("service", rows, across=False)
        for path in PATHS[:2]:
            compare_protocols(instance, path, token, options, outcome)
    return outcome


def apache_bench(instance, path, token, options):
    """Requests a second, and the 50th and 99th percentile, by ab."""
    load = ["ab", "-q", "-k", "-n", options.requests, "-c", options.connections, "-H", f"Authorization: Bearer {token}"]
    out = output_of([*load, f"http://127.0.0.1:{instance.port}{path}"])
    rate = float(re.search(r"Requests per second:\s+([\d.]+)", out)[1])
    p50, p99 = (re.search(rf"^\s*{share}%\s+(\d+)", out, re.MULTILINE)[1] for share in (50, 99))
    failed = re.search(r"Non-2xx responses:\s+(\d+)", out)
    return f"{rate:.0f}/s, p50 {p50} ms, p99 {p99} ms" + (f" ({failed[1]} failed)" if failed else "")


def compare_protocols(instance, path, token, options, outcome):
    """Adds a table with a row for each shape of connections: the medians of all rounds."""
    title, rounds = f"GET {path}, 64 requests under way", []
    for number in range(1, options.rounds + 1):
        for shape, arguments in SHAPES.items():
            before = cpu_of([instance.process.pid])
            load = ["h2load", *arguments, "-n", options.requests, "-H", f"authorization: Bearer {token}"]
            out = output_of([*load, f"http://127.0.0.1:{instance.port}{path}"])
            if f"status codes: {options.requests} 2xx" not in out:
                raise MeasurementError(f"requests failed: {out}")
            cpu = (cpu_of([instance.process.pid]) - before) * 1e6 / options.requests
            rate = float(re.search(r"^finished in [^,]*, ([\d.]+) req", out, re.MULTILINE)[1])
            rounds.append({"": shape, "round": number, "requests/s": rate, "CPU, µs": cpu})
    medians = {
        (shape, figure): statistics.median(row[figure] for row in rounds if row[""] == shape)
        for shape in SHAPES
        for figure in ("requests/s", "CPU, µs")
    }
    first = medians[next(iter(SHAPES)), "requests/s"]
    rows = [
        {
            "": shape,
            "requests/s": f"{medians[shape, 'requests/s']:.0f}",
            "of HTTP/1.1": f"{medians[shape, 'requests/s'] / first:.2f}",
            "CPU of a request, µs": f"{medians[shape, 'CPU, µs']:.1f}",
        }
        for shape in SHAPES
    ]
    outcome.add(title, rows, across=False)
    outcome.rounds[title] = rounds


def output_of(command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
