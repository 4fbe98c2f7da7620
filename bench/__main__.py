"""Command line: `python3 -m bench NAME [options]` runs one scenario.

Exit codes: 0, everything that the scenario promises holds; 1, a promise is broken; 2, wrong usage; 3, the scenario
could not measure, because the machine lacks something or a server did not start.
"""

import argparse
import importlib
import pkgutil
import sys

from bench import scenarios
from bench.lib import results
from bench.lib.binary import find_binary
from bench.lib.errors import MeasurementError
from bench.lib.processes import stop_on_signals

USAGE = "usage: python3 -m bench NAME [options]; python3 -m bench NAME --help"


def scenario_modules():
    """The module of each scenario by its name; `import_` is `import`, which Python reserves."""
    names = sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))
    return {name.rstrip("_"): f"{scenarios.__name__}.{name}" for name in names}


def list_scenarios(modules):
    print(USAGE, end="\n\n")
    width = max(map(len, modules))
    for name, module in modules.items():
        summary = importlib.import_module(module).__doc__.partition("\n")[0]
        print(f"  {name:<{width}}  {summary}")


def parse(name, scenario, arguments):
    parser = argparse.ArgumentParser(
        prog=f"python3 -m bench {name}",
        description=scenario.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--binary", help="build to measure [default: $SYMBOLON_BINARY or target/release/symbolon]")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON, with the figures of every round")
    output.add_argument("--record", action="store_true", help=f"write JSON and Markdown to {results.RUNS_PATH}")
    scenario.add_options(parser)
    options = parser.parse_args(arguments)
    if hasattr(scenario, "check_options"):
        scenario.check_options(parser, options)
    return options


def main(arguments):
    modules = scenario_modules()
    if not arguments or arguments[0] in ("-h", "--help"):
        list_scenarios(modules)
        return 0
    name = arguments[0]
    if name not in modules:
        print(f"there is no scenario {name!r}; `python3 -m bench` lists them\n{USAGE}", file=sys.stderr)
        return 2
    scenario = importlib.import_module(modules[name])
    options = parse(name, scenario, arguments[1:])
    stop_on_signals()
    try:
        options.binary = find_binary(options.binary)
        outcome = scenario.run(options)
    except MeasurementError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 3
    results.publish(name, outcome, options, arguments)
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
