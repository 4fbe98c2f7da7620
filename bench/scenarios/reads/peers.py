"""Other services to compare with, started on the same PostgreSQL and Redis as Symbolon.

A directory of peers has `services.sh up|down` (PostgreSQL with the databases shard0 to shard2 on port 55432, Redis on
port 56379, their files under PEERS_STATE), `load.py N` (users u0 to uN-1, each with a session s<i>), `handmade_axum` (a
Cargo package; port 8102; `/v1/users/<user>` and `/session`) and `seed_fastapi` (a FastAPI application;
`/v1/users/<user>`).
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from bench.lib.binary import ROOT
from bench.lib.processes import tied, until

SHARDS = {f"db-node-{index}": f"postgres://postgres@127.0.0.1:55432/shard{index}" for index in range(3)}
REDIS = "redis://127.0.0.1:56379"
PACKAGES = ["asyncpg", "redis", "fastapi", "uvicorn[standard]", "orjson"]
FASTAPI, AXUM = "seed_fastapi", "handmade_axum"
# Port, and the kinds of requests that the peer answers.
PEERS = {AXUM: (8102, ["session", "user"]), FASTAPI: (8101, ["user"])}


def python():
    """An interpreter with the packages that the peers import."""
    home = ROOT / "target/peers/python"
    if not (home / "bin/python").exists():
        subprocess.run(["python3", "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
    return home / "bin/python"


def command_of(name, directory):
    if name == FASTAPI:
        port = PEERS[name][0]
        return [python(), "-m", "uvicorn", "app:app", "--port", port, "--workers", "2", "--log-level", "error"]
    target = ROOT / "target/peers/handmade_axum"
    # Building writes a lock file into the package, so a copy is built.
    with tempfile.TemporaryDirectory() as work:
        copy = shutil.copytree(directory / name, Path(work) / name)
        environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
        subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=copy, env=environment, check=True)
    return [target / "release/handmade_axum"]


def is_listening(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def stores(directory):
    """PostgreSQL and Redis of the peers, with their files in a new directory."""
    with tempfile.TemporaryDirectory() as state:
        os.chmod(state, 0o755)
        environment = os.environ | {"PEERS_STATE": f"{state}/peers"}

        def services(verb):
            command = [str(directory / "services.sh"), verb]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

        services("up")
        try:
            yield
        finally:
            services("down")


@contextlib.contextmanager
def running_peers(directory, users):
    """Fills the peers' tables and starts the peers; a process by its name."""
    command = [python(), "-W", "ignore", directory / "load.py", str(users)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, (port, _) in PEERS.items():
            process = subprocess.Popen(tied(command_of(name, directory)), cwd=directory / FASTAPI)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            until(f"{name} answers", lambda port=port: is_listening(port))
            processes[name] = process
        yield processes


def request_lines(kind, users):
    """Lines of requests as the wrk script reads them."""
    path = {"session": "/session", "user": "/v1/users/u{}"}[kind]
    return "".join(f"GET {path.format(index)} s{index}\n" for index in range(users))
