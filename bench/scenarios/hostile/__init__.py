"""Attacks that strangers can make, beside regular users, on private instances.

   1  registrations whose every violation has a long path; the same line in an import
   2  HTTP/2 streams with a window of 0: reads without a token, logins, documents through the gateway
   3  documents fetched over 512 connections, and with a window of 0
   4  bodies that never come, or a byte a second, through the gateway
   5  more connections than there are descriptors, which are idle or answer pings
   6  a weight of 400,000 as a setting, as an operator's node and in a fleet record
   7  one address that registers, or logs in with its own password, as fast as it can; with the default hashes
   8  registrations with weak passwords that tell whether a name exists
   9  operator endpoints without and with wrong tokens
  10  X-Forwarded-For that can't be read

Promised of each: all requests of regular users are served, their p99 stays within twice that without the attack (and 5
ms: on a shared machine less than that is the scheduler's), memory grows by less than 192 MiB, no process dies; and what
the column "details" shows.

Windows without and with the attack alternate, five of each (two with --short), or up to twice as many while p99 alone
is too high and other processes, or other machines on the same hardware, took much of a core meanwhile. A p99 is the
median of the least disturbed windows, which are more than half of all. Files are in memory, as others use the disk.
Before each window without the attack the service must answer quickly again.

The service has all cores but the last, which the clients share: regular users at the usual priority, attackers,
processes of their own, at a lower one. So attackers themselves take no CPU from the service or from regular users;
their requests do. Documents are fetched at a rate that a service can bear: any 512 connections that are answered
without pause fill a core. Where it is permitted (root) all of it has a higher priority than the rest of the machine.
Regular users connect through a trusted proxy, for addresses of their own; attackers connect from others, and from new
ones in each window, so that a refusal in the last one does not make them harmless in this one.

All traffic is on 127.0.0.1/8. A process that takes more than 6 GiB of addresses ends.
"""

import contextlib
import os
import tempfile

from bench.lib.processes import progress, raise_descriptor_limit
from bench.lib.results import Outcome
from bench.scenarios.hostile.accounts import hashing, operator_tokens, weak_passwords
from bench.scenarios.hostile.clients import CLIENT_CORES
from bench.scenarios.hostile.connections import documents, idle_connections, slow_bodies, unread_streams
from bench.scenarios.hostile.requests import forwarded_for, violations, weights
from bench.scenarios.hostile.targets import Testbed

ATTACKS = {
    1: violations,
    2: unread_streams,
    3: documents,
    4: slow_bodies,
    5: idle_connections,
    6: weights,
    7: hashing,
    8: weak_passwords,
    9: operator_tokens,
    10: forwarded_for,
}


def numbers(text):
    chosen = [int(number) for number in text.split(",")]
    if not set(chosen) <= set(ATTACKS):
        raise ValueError
    return chosen


def add_options(parser):
    parser.add_argument("--only", type=numbers, default=list(ATTACKS), metavar="1,2,…", help="these attacks only")
    parser.add_argument("--short", action="store_true", help="two short windows each, and fewer connections")


def run(options):
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    if os.access("/dev/shm", os.W_OK):
        tempfile.tempdir = "/dev/shm"
    # The scenario itself does not take CPU from the service.
    os.sched_setaffinity(0, CLIENT_CORES)
    raise_descriptor_limit()
    testbed, rows, outcome = Testbed(options.binary, options.short), [], Outcome()
    for number in options.only:
        for result in ATTACKS[number](testbed):
            result.judge()
            progress(f"{result.number}: {'; '.join(result.broken) or 'holds'}")
            rows.append(result.row())
            outcome.broken += [f"{result.number}: {sentence}" for sentence in result.broken]
    outcome.add("attacks", [table_row(row) for row in rows], across=False)
    outcome.rounds["attacks"] = rows
    return outcome


def table_row(row):
    return {
        "attack": f"{row['number']:>3} {row['attack']}",
        "served": f"{100 * row['calm_requests_served'] / max(1, row['calm_requests']):.1f} %",
        "p99 calm, ms": f"{row['p99_calm_ms']:.1f}",
        "attacked, ms": f"{row['p99_beside_ms']:.1f}",
        "RSS idle, MiB": row["rss_idle_mib"],
        "peak, MiB": row["rss_peak_mib"],
        "log lines": row["log_lines"],
        "disturbed": f"{row['disturbed']} of {2 * row['windows']}",
        "verdict": "BROKEN" if row["broken"] else "holds",
        "details": row["noted"],
    }
