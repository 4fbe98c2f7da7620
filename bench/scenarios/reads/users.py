"""Users, their sessions, and files of requests for them."""

import json
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from bench.lib.client import login_body
from bench.lib.errors import MeasurementError
from bench.lib.instance import OPERATOR_TOKEN
from bench.lib.processes import clean_environment

THREADS = 4


def uuid7(number):
    """A user id of the current time, as imports make them."""
    value = int(time.time() * 1000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | number
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def import_users(binary, work, shards, count):
    """Imports new users; returns their ids."""
    ids, file = [uuid7(number) for number in range(count)], work / "users.ndjson"
    with open(file, "w") as users:
        for number, user_id in enumerate(ids):
            profile = {"name": f"User {number}", "email": f"user-{number}@example.com"}
            preferences = {"theme": "light", "language": "en"}
            user = {"user_id": user_id, "login_name": f"user-{number}", "profile": profile, "preferences": preferences}
            users.write(json.dumps(user) + "\n")
    environment = clean_environment() | {"SYMBOLON_SHARDS": shards, "SYMBOLON_LOG": "error"}
    subprocess.run([binary, "users", "import", file], env=environment, check=True, stdout=subprocess.DEVNULL)
    file.unlink()
    return ids


def issue_sessions(instance, ids):
    """Issues a session for each user; returns pairs of user id and token."""

    def issue(some):
        client = instance.client()
        return [
            token_of(client.request("POST", f"/v1/operator/users/{user}/sessions", {}, OPERATOR_TOKEN)) for user in some
        ]

    parts = [ids[start::THREADS] for start in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        return [pair for part, tokens in zip(parts, threads.map(issue, parts)) for pair in zip(part, tokens)]


def token_of(answer):
    status, body = answer
    if status != 200:
        raise MeasurementError(f"no session was issued: {status}: {body}")
    return body["token"]


def request_lines(kind, pairs, names):
    """Lines of method, path, token and body, as the wrk script reads them."""
    if kind == "session":
        return "".join(f"GET /v1/session {token}\n" for _, token in pairs)
    lines = [f"GET /v1/users/{user_id} {token}\n" for user_id, token in pairs]
    if kind == "user":
        return "".join(lines)
    for index, (user_id, token) in enumerate(pairs):
        if index % 50 == 0:
            login = login_body(names[index // 50 % len(names)])
            lines[index] = f"POST /v1/login - {json.dumps(login)}\n"
        elif index % 25 in (3, 17):
            body = json.dumps({"theme": f"theme-{index}"})
            lines[index] = f"PATCH /v1/users/{user_id}/preferences {token} {body}\n"
    return "".join(lines)
