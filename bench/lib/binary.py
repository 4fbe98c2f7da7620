"""The binary to measure, and the load generators in `benches/`."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.lib.errors import MeasurementError

ROOT = Path(__file__).resolve().parents[2]


def find_binary(given=None):
    """The absolute path of the build to measure: `given`, else $SYMBOLON_BINARY, else the release build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = given or os.environ.get("SYMBOLON_BINARY") or target / "release/symbolon"
    if not shutil.which(str(binary)):
        raise MeasurementError(f"{binary} is missing; build it with: cargo build --release")
    return str(Path(binary).resolve())


def build_generator(name):
    """Builds the package `benches/NAME` and returns the path of its binary."""
    target = ROOT / "target" / name
    environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
    command = ["cargo", "build", "--quiet", "--release"]
    subprocess.run(command, cwd=ROOT / "benches" / name, env=environment, check=True)
    return str(target / "release" / name)
