"""Accounts under attack: login storms, guesses, lockout and timing, on embedded storage.

  storm    ten times as many logins as the CPU hashes, argon2id with the default parameters: refusals, waits, memory,
           other users' reads meanwhile, and logins a second beside bare argon2id on the same number of threads
  guesses  64 parallel guesses against one account with a limit of 10: how many were hashed; on one instance, on three
           that share storage, and on three that share Redis
  lockout  wrong passwords for one name from ever more addresses, until its owner, elsewhere, is refused
  timing   wrong password, unknown name, suspended user: whether status, body or time tells them apart

What depends on the machine's speed is a target, and only reported; all else is promised.
"""

import os

from bench.lib.binary import build_generator
from bench.lib.results import Outcome
from bench.scenarios.attack.guesses import measure_guesses, measure_lockout
from bench.scenarios.attack.storm import Storm
from bench.scenarios.attack.timing import measure_timing


def measure_storm(options, outcome):
    generator, rows = build_generator("storm"), []
    for threads in options.threads:
        row, rounds = Storm(options.binary, generator, threads, options.seconds).measure(options.rounds, outcome.broken)
        outcome.rounds[f"storm, {threads} hashing threads"] = rounds
        rows.append(row)
    return rows


PARTS = {
    "storm": measure_storm,
    "guesses": measure_guesses,
    "lockout": measure_lockout,
    "timing": measure_timing,
}


def add_options(parser):
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(PARTS)} [default: all]")
    parser.add_argument(
        "--threads",
        type=lambda text: [int(count) for count in text.split(",")],
        default=[max(1, cores - 1)],
        help="storm: hashing threads, separated by commas [default: as the service itself]",
    )
    parser.add_argument("--rounds", type=int, default=7, help="storm: rounds [default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=4, help="storm: length of each load [default: %(default)s]")
    parser.add_argument(
        "--accounts",
        type=int,
        default=9,
        help="guesses: accounts, fewer than 10, as one address may try 100 times [default: %(default)s]",
    )
    parser.add_argument("--tries", type=int, default=2000, help="timing: tries of each case [default: %(default)s]")
    parser.add_argument(
        "--cheap", action="store_true", help="timing: with cheap hashes, whose time hides no other difference"
    )
    parser.add_argument("--seed", type=int, default=1, help="timing: seed of the random order [default: %(default)s]")


def check_options(parser, options):
    if unknown := set(options.what) - set(PARTS):
        parser.error(f"unknown part: {', '.join(unknown)}")


def run(options):
    outcome = Outcome()
    for name in options.what or PARTS:
        outcome.add(name, PARTS[name](options, outcome))
    return outcome
