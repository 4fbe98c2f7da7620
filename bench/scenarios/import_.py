"""Import of users into three PostgreSQL shards, beside a bare COPY of the same rows into the same tables.

Then an import is killed (SIGKILL) half-way and repeated.

Promised: a repeated import adds nothing; after the killed one was repeated every user is there once, and every claim of
a login name agrees with its user. Servers and import share the machine, so the ratio within one run means something,
single figures depend on the machine.
"""

import base64
import contextlib
import json
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.lib.errors import MeasurementError
from bench.lib.postgres import SHARDS, postgres_shards, shards_setting
from bench.lib.processes import clean_environment
from bench.lib.results import Outcome

TABLES = ("login_names", "users")
IMPORTED, BARE, KILLED = "imported", "bare", "broken"
SETTINGS = ("max_wal_size=4GB",)


def add_options(parser):
    parser.add_argument("--users", type=int, default=1_000_000, help="[default: %(default)s]")


def run(options):
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as work, postgres_shards(SHARDS, SETTINGS) as shards:
        file = Path(work) / "users.ndjson"
        write_users(file, options.users)
        for database in (IMPORTED, BARE, KILLED):
            for server in shards.values():
                server.create_database(database)
        first = summary_of(start_import(options.binary, shards, IMPORTED, file))
        again = summary_of(start_import(options.binary, shards, IMPORTED, file))
        copied = bare_copy(shards)
        left = kill_half_way(options, shards, file)
        repeated = summary_of(start_import(options.binary, shards, KILLED, file))
        end = count_rows(shards)
        agree = len({pairs_of(shards, table) for table in TABLES}) == 1
    row = {
        "users": options.users,
        "import_seconds": first["seconds"],
        "import_users_per_second": options.users / first["seconds"],
        "bare_copy_seconds": copied,
        "bare_copy_users_per_second": options.users / copied,
        "import_to_bare_copy": copied / first["seconds"],
        "repeated_import_seconds": again["seconds"],
        "repeated_import_added": again["imported"],
        "killed_with_users": left["users"],
        "killed_with_claims": left["login_names"],
        "repeated_after_kill_seconds": repeated["seconds"],
        "repeated_after_kill_added": repeated["imported"],
        "users_at_the_end": end["users"],
        "claims_at_the_end": end["login_names"],
        "claims_agree_with_users": agree,
    }
    outcome.add("import", [row])
    if again["imported"]:
        outcome.broken.append(f"a repeated import added {again['imported']} users")
    if end != dict.fromkeys(TABLES, options.users):
        outcome.broken.append(f"{end} rows are there in the end for {options.users} users")
    if not agree:
        outcome.broken.append("claims of login names and users don't agree")
    return outcome


def write_users(file, count):
    with open(file, "w") as users:
        for number in range(count):
            salt = base64.b64encode(number.to_bytes(16, "big")).decode().rstrip("=")
            user = {
                "login_name": f"user-{number}@example.com",
                "profile": {"name": f"User {number}", "email": f"user-{number}@example.com"},
                "preferences": {"theme": "dark", "language": "en", "tabs": number % 8},
                "password_hash": f"$argon2id$v=19$m=19456,t=2,p=1${salt}$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
            }
            users.write(json.dumps(user) + "\n")


def start_import(binary, shards, database, file):
    environment = clean_environment() | {"SYMBOLON_SHARDS": shards_setting(shards, database)}
    command = [binary, "users", "import", str(file), "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def summary_of(process):
    out, err = process.communicate()
    if process.returncode != 0:
        raise MeasurementError(f"the import failed: {err[-2000:]}")
    return json.loads(out)


def bare_copy(shards):
    """Seconds that a COPY of the imported rows takes, from files, into tables of the same kind."""
    for server in shards.values():
        schema = server.run(["pg_dump", *server.connection(), "-s", IMPORTED])
        server.run(["psql", *server.connection(), "-d", BARE, "-Xq"], input=schema)
        for table in TABLES:
            server.query(IMPORTED, f"COPY {table} TO '{server.directory}/{table}'")
        server.query(BARE, "CHECKPOINT")

    def copy(server):
        for table in TABLES:
            server.query(BARE, f"COPY {table} FROM '{server.directory}/{table}'")

    threads = [threading.Thread(target=copy, args=(server,)) for server in shards.values()]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun


def kill_half_way(options, shards, file):
    """Kills an import once half of the users are there; returns how many rows it left in each table."""
    process, counted = start_import(options.binary, shards, KILLED, file), 0
    while counted < options.users / 2 and process.poll() is None:
        time.sleep(0.05)
        # The tables may not be there yet.
        with contextlib.suppress(subprocess.CalledProcessError):
            counted = count_rows(shards)["users"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return count_rows(shards)


def count_rows(shards):
    """Rows of each table of the killed import, on all shards together."""
    return {
        table: sum(int(server.query(KILLED, f"SELECT count(*) FROM {table}")) for server in shards.values())
        for table in TABLES
    }


def pairs_of(shards, table):
    """A hash of all pairs of login name and user id in a table."""
    pairs = "\n".join(server.query(KILLED, f"SELECT login_name, user_id FROM {table}") for server in shards.values())
    return hash(frozenset(pairs.splitlines()))
