"""Flame graphs of the service under load."""

import subprocess
import tempfile

from bench.lib.errors import MeasurementError
from bench.scenarios.reads.targets import send


def draw_flamegraphs(target, script, options):
    """Writes an SVG for each kind of request: where the process spends its time."""
    options.flamegraphs.mkdir(parents=True, exist_ok=True)
    connections = max(options.connections)
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as work, open(f"{work}/stacks", "w") as stacks:
            record = [
                "perf",
                "record",
                "-q",
                "-F",
                "1999",
                "--call-graph",
                "fp",
                "-o",
                f"{work}/samples",
                "-p",
                str(target.pid),
            ]
            perf = subprocess.Popen([*record, "--", "sleep", "5"], stderr=subprocess.DEVNULL)
            send(target.port, target.files[kind], script, connections, 6)
            if perf.wait():
                raise MeasurementError("perf recorded nothing")
            script_command = ["perf", "script", "-i", f"{work}/samples"]
            subprocess.run(script_command, check=True, stdout=stacks, stderr=subprocess.DEVNULL)
            stacks.flush()
            folded = subprocess.run(["inferno-collapse-perf", stacks.name], check=True, capture_output=True).stdout
            draw = ["inferno-flamegraph", "--title", f"{kind}, {connections} connections"]
            drawn = subprocess.run(draw, check=True, input=folded, capture_output=True).stdout
            (options.flamegraphs / f"{kind}.svg").write_bytes(drawn)
