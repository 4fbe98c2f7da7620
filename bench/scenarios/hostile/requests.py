"""Attacks by the content of a request or record: numbers 1, 6 and 10."""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from bench.lib.client import Client, login_body, registration_body
from bench.lib.instance import OPERATOR_TOKEN
from bench.lib.processes import clean_environment
from bench.scenarios.hostile.attackers import counts_text, http1, requesters, source, statuses, swarm_of
from bench.scenarios.hostile.targets import MAX_GROWTH, Result, logins, register, sessions

# How large a response, or the import's messages about one line, may be, in bytes.
MAX_MESSAGE = 64 << 10
IMPORT_TIMEOUT = 30
HEAVY = 400_000
NAMES = ("first", "last")


# --- 1 ---


def bomb(login_name):
    """A registration of just less than 64 KiB whose every violation has a path of 32,000 characters."""
    text = json.dumps(registration_body(login_name) | {"preferences": {"k" * 32_000: []}})
    return text.replace("[]", f"[{','.join(['1e99'] * ((65_000 - len(text)) // 5))}]")


def violations(testbed):
    with testbed.instance() as instances:
        traffic, client, idle = logins(instances[0].port), Client(instances[0].port), instances[0].memory()
        headers = {"Content-Type": "application/json", "X-Forwarded-For": "10.9.0.1"}
        client.connection.request("POST", "/v1/users", bomb("alone"), headers)
        response = client.connection.getresponse()
        status, size = response.status, 0
        while piece := response.read(1 << 20):
            size += len(piece)
        alone = instances[0].memory()
        requests = (
            ("bomb", http1("POST", "/v1/users", bomb(f"bomb-{number}").encode())) for number in itertools.count()
        )

        def attack(window):
            sources = [source(window, number) for number in range(64)]
            return [swarm_of(instances[0].port, sources, requesters(2, requests))]

        comparison = testbed.observer.compare(instances, [traffic], attack)
    comparison.idle_memory, comparison.peak_memory = idle, max(comparison.peak_memory, alone)
    imported, written, memory = import_bomb(testbed)
    result = Result("1", "64 KB registration, 6,500 violations, 2 at a time", comparison)
    result.details |= {
        f"one is answered with {status},": f"{size:,} bytes",
        "attackers": counts_text(statuses(comparison)),
    }
    result.details |= {"users import": f"{imported}, writes {written:,} bytes, takes {memory:.0f} MiB"}
    result.require(
        status in (422, 429) and size < MAX_MESSAGE, f"one request was answered with {status} and {size:,} bytes"
    )
    result.require(imported == "goes on", f"users import {imported}")
    result.require(written < MAX_MESSAGE, f"users import wrote {written:,} bytes about one line")
    result.require(memory < MAX_GROWTH, f"users import took {memory:.0f} MiB")
    yield result


def import_bomb(testbed):
    """Imports such a line between good ones: the outcome, how many bytes it writes, and its peak memory in MiB."""
    with tempfile.TemporaryDirectory() as directory:
        profile = {"name": "Ada", "email": "ada@example.com"}
        good = [json.dumps({"login_name": name, "profile": profile}) for name in NAMES]
        bad = json.loads(bomb("bad"))
        del bad["password"]
        file = Path(directory) / "users.ndjson"
        file.write_text("\n".join([good[0], json.dumps(bad).replace("1e+99", "1e99"), good[1]]) + "\n")
        environment = clean_environment() | testbed.settings(data=f"{directory}/data")
        command = [*testbed.prefix(), str(testbed.binary), "users", "import", str(file), "--json"]
        with open(f"{directory}/out", "w+") as out, open(f"{directory}/messages", "w") as messages:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=messages)
            end, pid = time.monotonic() + IMPORT_TIMEOUT, 0
            while not pid:
                time.sleep(0.05)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if not pid and time.monotonic() > end:
                    process.kill()
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read()
        written, memory = os.path.getsize(f"{directory}/messages"), usage.ru_maxrss / 1024
    with contextlib.suppress(ValueError, KeyError):
        summary = json.loads(text)
        if process.returncode == 3 and summary["imported"] == 2 and summary["rejected"] == 1:
            return "goes on", written, memory
    how = (
        f"did not end in {IMPORT_TIMEOUT} s"
        if process.returncode == -signal.SIGKILL
        else f"broke off with {process.returncode}"
    )
    return how, written, memory


# --- 6 ---


def weights(testbed):
    with testbed.gateway(2, testbed.settings(gateway_algorithm="hash"), fleet=True) as (gateway, *instances):
        traffic = sessions(instances[0].port, through=gateway.port)
        body = {"id": "heavy", "url": f"http://127.0.0.1:{instances[0].port}", "weight": HEAVY}
        status, answer = Client(gateway.port).request("POST", "/v1/operator/balancer/nodes", body, OPERATOR_TOKEN)

        def attack(_window):
            return [lambda ready, stop: record_weight(instances[0], ready, stop)]

        comparison = testbed.observer.compare([gateway, *instances], [traffic], attack)
        nodes = {}
        if not comparison.problems:
            nodes = Client(gateway.port).request("GET", "/v1/operator/balancer", token=OPERATOR_TOKEN)[1]
    start, message = start_with_weight(testbed)
    result = Result("6", "a fleet record of weight 400,000, algorithm hash", comparison)
    heaviest = max(
        [count["heaviest"] for count in comparison.attackers] + [node["weight"] for node in nodes.get("nodes", [])]
    )
    result.details |= {"SYMBOLON_WEIGHT=400000": start, "POST of it": status, "heaviest node shown": heaviest}
    result.require(start == "refused" and "weight" in message, f"an instance of weight {HEAVY} was {start}: {message}")
    fields = json.dumps(answer)
    result.require(
        status == 422 and "weight" in fields, f"a node of weight {HEAVY} was answered with {status}: {fields}"
    )
    result.require(heaviest <= 1000, f"a node has weight {heaviest}")
    yield result


def record_weight(instance, ready, stop):
    """Writes heartbeats of another instance into the registry; returns the greatest weight of a node in the API."""
    database = sqlite3.connect(instance.log.parent / "data/shared.sqlite", timeout=10, isolation_level=None)
    with contextlib.closing(database):
        text = database.execute("SELECT record FROM instances LIMIT 1").fetchone()[0]
        record = json.dumps(json.loads(text) | {"id": "heavy", "weight": HEAVY})
        heaviest, end = 0, time.monotonic() + 60
        while not stop.is_set() and time.monotonic() < end:
            beat = (
                "INSERT INTO instances VALUES ('heavy', ?, ?) "
                "ON CONFLICT (instance_id) DO UPDATE SET seen_at = excluded.seen_at"
            )
            database.execute(beat, (int(time.time() * 1000), record))
            ready.set()
            with contextlib.suppress(OSError):
                _, fleet = Client(instance.port, 2).request("GET", "/v1/operator/balancer", token=OPERATOR_TOKEN)
                heaviest = max([heaviest, *(node["weight"] for node in fleet.get("nodes", []))])
            stop.wait(0.5)
        database.execute("DELETE FROM instances WHERE instance_id = 'heavy'")
    return {"heaviest": heaviest}


def start_with_weight(testbed):
    """Whether an instance starts with too great a weight, and its error message."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "SYMBOLON_WEIGHT": str(HEAVY),
            "SYMBOLON_LISTEN": "127.0.0.1:0",
            "SYMBOLON_DATA": f"{directory}/data",
        }
        process = subprocess.Popen(
            [*testbed.prefix(), str(testbed.binary)],
            env=clean_environment() | settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, message = process.communicate(timeout=3)
            return "refused", message.strip()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "started", ""


# --- 10 ---

# X-Forwarded-For of a trusted proxy, and the client's address; `None` where the proxy's own element can't be read.
FORWARDED = {
    b"\xff": None,
    b"1.2.3.4, \xff": None,
    b"\xff, 1.2.3.4": "1.2.3.4",
    b"\xff, 1.2.3.4, 127.0.0.1": "1.2.3.4",
    b"unknown, 1.2.3.4": "1.2.3.4",
    b"1.2.3.4, unknown": "127.0.0.1",
    b"1.2.3.4": "1.2.3.4",
}


def forwarded_for(testbed):
    with testbed.gateway(1) as (gateway, instance):
        traffic = logins(instance.port)
        traffic.port = gateway.port
        register(instance.port, ["guessed", "watcher"])
        seen = {value: client_address(instance.port, value, "127.0.0.1") for value in FORWARDED}
        behind = client_address(gateway.port, b"\xff", source(200))
        values = itertools.cycle([b"\xff", b"\xff\xfe", b"1.2.3.4, \xff", b"caf\xe9, 127.0.0.1"])

        def guess(value):
            headers = [b"X-Forwarded-For: " + value]
            return "guess", http1("POST", "/v1/login", login_body("guessed", "wrong password"), headers)

        def attack(window):
            return [swarm_of(gateway.port, [source(window)], requesters(4, map(guess, values)))]

        comparison = testbed.observer.compare([gateway, instance], [traffic], attack)
        after = Client(instance.port).login("guessed", address="10.7.0.1")[0]
    guesses = [counts["guess", 401] for counts in comparison.attackers]
    result = Result("10", "X-Forwarded-For that can't be read", comparison)
    wrong = {value: got for value, got in seen.items() if got != (FORWARDED[value] or 400)}
    result.details |= {
        "elements read correctly": f"{len(seen) - len(wrong)} of {len(seen)}",
        "through the gateway": behind,
    }
    result.details |= {"guesses answered, maximum of one address": max(guesses, default=0), "owner elsewhere": after}
    for value, got in wrong.items():
        result.require(False, f"{value!r} was taken for {got}, not {FORWARDED[value] or 400}")
    result.require(behind == source(200), f"a client of the gateway that sends \\xff is taken for {behind}")
    result.require(max(guesses, default=0) <= 10, f"one address guessed one name {max(guesses, default=0)} times")
    result.require(after == 200, f"the owner, elsewhere, was answered with {after}")
    yield result


def client_address(port, value, own):
    """The address that a login is taken to come from, or its status if it fails."""
    headers = [b"X-Forwarded-For: " + value, b"Connection: close"]
    client = Client(port, 10, own)
    try:
        status, answer = exchange(client, http1("POST", "/v1/login", login_body("watcher"), headers))
    finally:
        client.connection.close()
    if status != 200:
        return status
    _, listed = Client(port).request("GET", "/v1/sessions", token=answer["token"])
    return next(session["address"] for session in listed["sessions"] if session["current"])


def exchange(client, request):
    """Sends bytes as they are; returns status and decoded body."""
    client.connection.sock.sendall(request)
    response = client.connection.response_class(client.connection.sock)
    response.begin()
    text = response.read()
    return response.status, json.loads(text) if text else None
