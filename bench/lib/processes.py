"""Processes and their environment: ports, users, limits, waiting, and ending with the scenario."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

from bench.lib.errors import MeasurementError

DEADLINE = 60  # seconds that anything expected may take


def free_port(below=65536):
    """A TCP port of 127.0.0.1 that nothing listens on."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if port < below:
            return port


def until(what, condition, pause=0.01):
    """Waits until `condition()` holds; fails after `DEADLINE` seconds with a message that names `what`."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise MeasurementError(f"timed out after {DEADLINE} s: {what}")
        time.sleep(pause)


def clean_environment():
    """The environment without settings of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYMBOLON_")}


def tied(command):
    """The command, killed by the kernel when the thread that starts it ends."""
    return ["setpriv", "--pdeathsig", "KILL", *map(str, command)]


def as_user(user, command):
    """`tied`, and run as an unprivileged user where the scenario runs as root."""
    drop = ["--reuid", user, "--regid", user, "--clear-groups"] if os.geteuid() == 0 else []
    return tied([*drop, *command])


def directory_of(user, path):
    """Creates a private directory that the user owns where the scenario runs as root."""
    path.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(path, user, user)
    return path


def kill(process):
    process.kill()
    process.wait()


def install(packages):
    """Installs Debian packages, named by the program that each brings, where the program is missing."""
    missing = [package for program, package in packages.items() if not find_program(program)]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-qq"], stdout=sys.stderr, check=True)
    # RUNLEVEL=1 keeps the packages from starting servers.
    settings = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"]
    command = [*sudo, *settings, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    subprocess.run(command, stdout=sys.stderr, check=True)


def find_program(name):
    """The path of a program, also of one that only root has in its search path."""
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")


def require_programs(hint, *names):
    for name in names:
        if not find_program(name):
            raise MeasurementError(f"{name} is missing; install it with: {hint}")


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signals():
    """Unwinds on SIGINT and SIGTERM, so that servers end and directories are removed."""

    def stop(number, _):
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def progress(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def pinned(command, cores, **options):
    """A process on these cores, terminated in the end."""
    command = ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        # SIGKILL would leave the workers of nginx behind.
        process.terminate()
        process.wait()
