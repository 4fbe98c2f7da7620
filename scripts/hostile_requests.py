"""Attacks by what a request or record says: numbers 1, 6 and 10."""

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

from calm_user import swarm_of
from hostile_attackers import askers, http1, shown, source, statuses
from hostile_targets import MEMORY, Result, login_body, logins, register, sessions
from measuring import PASSWORD, TOKEN, Client

# What an answer, or what is said of a line, may be, in bytes.
SMALL = 64 << 10
IMPORT_ENDS_IN = 30
HEAVY = 400_000


# --- 1 ---


def bomb(login_name):
    """A registration of just less than 64 KiB whose every violation has a path of 32,000 characters."""
    profile = {"name": "Ada", "email": "ada@example.com"}
    body = {"login_name": login_name, "profile": profile, "preferences": {"k" * 32_000: []}, "password": PASSWORD}
    text = json.dumps(body)
    return text.replace("[]", f"[{','.join(['1e99'] * ((65_000 - len(text)) // 5))}]")


def violations(lab):
    with lab.instance() as instances:
        habit, client, idle = logins(instances[0].port), Client(instances[0].port), instances[0].memory()
        headers = {"Content-Type": "application/json", "X-Forwarded-For": "10.9.0.1"}
        client.connection.request("POST", "/v1/users", bomb("alone"), headers)
        response = client.connection.getresponse()
        status, size = response.status, 0
        while piece := response.read(1 << 20):
            size += len(piece)
        alone = instances[0].memory()
        requests = (("bomb", http1("POST", "/v1/users", bomb(f"bomb-{number}").encode())) for number in itertools.count())
        attack = lambda window: [swarm_of(instances[0].port, [source(window, number) for number in range(64)], askers(2, requests))]
        found = lab.observer.compare(instances, [habit], attack)
    found.idle_memory, found.peak_memory = idle, max(found.peak_memory, alone)
    imported, written, memory = import_bomb(lab)
    result = Result("1", "64 KB registration, 6,500 violations, 2 at a time", found)
    result.noted |= {f"one is answered with {status},": f"{size:,} bytes", "attackers": shown(statuses(found))}
    result.noted |= {"users import": f"{imported}, writes {written:,} bytes, takes {memory:.0f} MiB"}
    result.require(status in (422, 429) and size < SMALL, f"one request was answered with {status} and {size:,} bytes")
    result.require(imported == "goes on", f"users import {imported}")
    result.require(written < SMALL, f"users import wrote {written:,} bytes about one line")
    result.require(memory < MEMORY, f"users import took {memory:.0f} MiB")
    yield result


def import_bomb(lab):
    """What import makes of such a line with good ones around it, how much it writes, and its peak memory in MiB."""
    with tempfile.TemporaryDirectory() as directory:
        good = lambda name: json.dumps({"login_name": name, "profile": {"name": "Ada", "email": "ada@example.com"}})
        bad = json.loads(bomb("bad"))
        del bad["password"]
        file = Path(directory) / "users.ndjson"
        file.write_text("\n".join([good("first"), json.dumps(bad).replace("1e+99", "1e99"), good("last")]) + "\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYMBOLON_")}
        environment |= lab.settings(data=f"{directory}/data")
        command = [*lab.prefix(), str(lab.binary), "users", "import", str(file), "--json"]
        with open(f"{directory}/out", "w+") as out, open(f"{directory}/said", "w") as said:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=said)
            end, pid = time.monotonic() + IMPORT_ENDS_IN, 0
            while not pid:
                time.sleep(0.05)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if not pid and time.monotonic() > end:
                    process.kill()
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read()
        written, memory = os.path.getsize(f"{directory}/said"), usage.ru_maxrss / 1024
    with contextlib.suppress(ValueError, KeyError):
        summary = json.loads(text)
        if process.returncode == 3 and summary["imported"] == 2 and summary["rejected"] == 1:
            return "goes on", written, memory
    how = f"did not end in {IMPORT_ENDS_IN} s" if process.returncode == -signal.SIGKILL else f"broke off with {process.returncode}"
    return how, written, memory


# --- 6 ---


def weights(lab):
    with lab.gateway(2, lab.settings(gateway_algorithm="hash"), fleet=True) as (gateway, *instances):
        habit = sessions(instances[0].port, through=gateway.port)
        body = {"id": "heavy", "url": f"http://127.0.0.1:{instances[0].port}", "weight": HEAVY}
        status, answer = Client(gateway.port).request("POST", "/v1/operator/balancer/nodes", body, TOKEN)
        attack = lambda window: [lambda ready, stop: record_weight(instances[0], ready, stop)]
        found = lab.observer.compare([gateway, *instances], [habit], attack)
        nodes = {}
        if not found.problems:
            nodes = Client(gateway.port).request("GET", "/v1/operator/balancer", token=TOKEN)[1]
    start, said = start_with_weight(lab)
    result = Result("6", "a fleet record of weight 400,000, algorithm hash", found)
    heaviest = max([count["heaviest"] for count in found.attackers] + [node["weight"] for node in nodes.get("nodes", [])])
    result.noted |= {"SYMBOLON_WEIGHT=400000": start, "POST of it": status, "heaviest node shown": heaviest}
    result.require(start == "refused" and "weight" in said, f"an instance of weight {HEAVY} was {start}: {said}")
    fields = json.dumps(answer)
    result.require(status == 422 and "weight" in fields, f"a node of weight {HEAVY} was answered with {status}: {fields}")
    result.require(heaviest <= 1000, f"a node has weight {heaviest}")
    yield result


def record_weight(instance, ready, stop):
    """Another instance's heartbeats, as it would send them; returns the greatest weight that is shown of it."""
    database = sqlite3.connect(instance.log.parent / "data/shared.sqlite", timeout=10, isolation_level=None)
    with contextlib.closing(database):
        text = database.execute("SELECT record FROM instances LIMIT 1").fetchone()[0]
        record = json.dumps(json.loads(text) | {"id": "heavy", "weight": HEAVY})
        heaviest, end = 0, time.monotonic() + 60
        while not stop.is_set() and time.monotonic() < end:
            beat = "INSERT INTO instances VALUES ('heavy', ?, ?) ON CONFLICT (instance_id) DO UPDATE SET seen_at = excluded.seen_at"
            database.execute(beat, (int(time.time() * 1000), record))
            ready.set()
            with contextlib.suppress(OSError):
                _, fleet = Client(instance.port, 2).request("GET", "/v1/operator/balancer", token=TOKEN)
                heaviest = max([heaviest, *(node["weight"] for node in fleet.get("nodes", []))])
            stop.wait(0.5)
        database.execute("DELETE FROM instances WHERE instance_id = 'heavy'")
    return {"heaviest": heaviest}


def start_with_weight(lab):
    """Whether an instance starts with too great a weight, and what it says."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {"SYMBOLON_WEIGHT": str(HEAVY), "SYMBOLON_LISTEN": "127.0.0.1:0", "SYMBOLON_DATA": f"{directory}/data"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYMBOLON_")}
        command = [*lab.prefix(), str(lab.binary)]
        process = subprocess.Popen(command, env=environment | settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=3)
            return "refused", said.strip()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "started", ""


# --- 10 ---

# What a trusted proxy sends on, and whom it speaks for; nobody, where its own element can't be read.
FORWARDED = {
    b"\xff": None,
    b"1.2.3.4, \xff": None,
    b"\xff, 1.2.3.4": "1.2.3.4",
    b"\xff, 1.2.3.4, 127.0.0.1": "1.2.3.4",
    b"unknown, 1.2.3.4": "1.2.3.4",
    b"1.2.3.4, unknown": "127.0.0.1",
    b"1.2.3.4": "1.2.3.4",
}


def forwarded_for(lab):
    with lab.gateway(1) as (gateway, instance):
        habit = logins(instance.port)
        habit.port = gateway.port
        register(instance.port, ["guessed", "watcher"])
        seen = {value: client_address(instance.port, value, "127.0.0.1") for value in FORWARDED}
        behind = client_address(gateway.port, b"\xff", source(200))
        values = itertools.cycle([b"\xff", b"\xff\xfe", b"1.2.3.4, \xff", b"caf\xe9, 127.0.0.1"])
        guess = lambda value: ("guess", http1("POST", "/v1/login", login_body("guessed", "wrong password"), [b"X-Forwarded-For: " + value]))
        attack = lambda window: [swarm_of(gateway.port, [source(window)], askers(4, map(guess, values)))]
        found = lab.observer.compare([gateway, instance], [habit], attack)
        after = client_login(instance.port, "guessed", "10.7.0.1")
    told = [counts["guess", 401] for counts in found.attackers]
    result = Result("10", "X-Forwarded-For that can't be read", found)
    wrong = {value: got for value, got in seen.items() if got != (FORWARDED[value] or 400)}
    result.noted |= {"elements read rightly": f"{len(seen) - len(wrong)} of {len(seen)}", "through the gateway": behind}
    result.noted |= {"guesses told, most of one address": max(told, default=0), "owner elsewhere": after}
    for value, got in wrong.items():
        result.require(False, f"{value!r} was taken for {got}, not {FORWARDED[value] or 400}")
    result.require(behind == source(200), f"a client of the gateway that sends \\xff is taken for {behind}")
    result.require(max(told, default=0) <= 10, f"one address guessed one name {max(told, default=0)} times")
    result.require(after == 200, f"the owner, elsewhere, was answered with {after}")
    yield result


def client_login(port, name, address):
    return Client(port).login(name, address=address)[0]


def client_address(port, value, own):
    """Whom a login is taken to come from, or its status."""
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
    """Sends bytes as they are."""
    client.connection.sock.sendall(request)
    response = client.connection.response_class(client.connection.sock)
    response.begin()
    text = response.read()
    return response.status, json.loads(text) if text else None
