"""Scaling of a running fleet: decisions, their reasons, who decides, and what an autoscaler reads meanwhile.

  spawn    symbolon gateway --spawn 2..6 under a load that rises and falls: the number of instances, and failed requests
  shard    the same on PostgreSQL and Redis, under a steady load, while one shard's server is stopped (SIGSTOP)
  decider  three instances; the one that decides is killed: when another one decides, whether two ever do at once, and
           whether the cooldown is kept
  states   what GET /v1/operator/demand answers while an instance starts, has no registry, drains, or a shard hangs

Instances are told that they have a small part of a core each, so that a load which a small machine can make needs
several.

Promised: no request fails that should not, the fleet does not grow for a shard that hangs, another instance decides
within 5 s, and no demand is made up.
"""

from bench.lib.binary import build_generator
from bench.lib.results import Outcome
from bench.scenarios.scaling.decider import measure_decider
from bench.scenarios.scaling.fleet import measure_shard, measure_spawn
from bench.scenarios.scaling.states import measure_states

PARTS = {
    "spawn": measure_spawn,
    "shard": measure_shard,
    "decider": measure_decider,
    "states": measure_states,
}


def add_options(parser):
    parser.add_argument("--rate", type=int, default=3000, help="maximum of requests a second [default: %(default)s]")
    parser.add_argument("--seconds", type=int, default=30, help="length of each phase [default: %(default)s]")
    parser.add_argument(
        "--cores", type=float, default=0.1, help="cores that an instance is told to have [default: %(default)s]"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds in which a decider is killed [default: %(default)s]"
    )
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part only")


def run(options):
    options.generator, outcome = build_generator("storm"), Outcome()
    for name in options.only or PARTS:
        PARTS[name](options, outcome)
    return outcome
