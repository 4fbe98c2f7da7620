"""Sends odd and broken HTTP through the gateway and through nginx, byte by byte: `python3 tests/framing`.

Upstream and client are sockets of this program. For each case the table shows what reached the upstream (the request's
line, the headers that frame it or concern the connection, its body, and whether it broke off) and what the client got
(status, framing, body, and whether the connection stayed open). CL is Content-Length, TE is Transfer-Encoding. nginx is
a private process with its defaults but for Host and X-Forwarded-For, kept connections, bodies of any size, and streamed
requests; where it is missing, Debian's package is installed.

Promised of the gateway: a request whose end can be read in two ways is refused, or ends its connection; no request
becomes two; a POST is sent once; headers that Connection may not remove stay; a client's mistake neither ejects a node
nor holds anything for ever; no client gets another's response, or a part of its own as if it were the whole; the
process lives.

Exit codes: 0, all promises hold; 1, one is broken; 2, wrong usage; 3, a server did not start.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cases import all_cases
from promises import observe, shared_promises
from proxies import Nginx, Symbolon
from wire import Upstream

from bench.lib.binary import find_binary
from bench.lib.errors import MeasurementError
from bench.lib.processes import install, stop_on_signals, until

PROXIES = {"symbolon": Symbolon, "nginx": Nginx}


def run_all(chosen, proxy, upstream, is_judged, results, broken):
    """Runs the cases through one proxy; with `is_judged` adds the promises that are broken."""
    until("the proxy answers", proxy.is_ready)
    for case in chosen:
        seen, sentences = observe(case, proxy, upstream)
        results[case.name] = seen
        if is_judged:
            if not case.run or case.http2:
                sentences = [*shared_promises(case, seen), *case.check(seen)]
            if not proxy.is_running():
                broken.append(f"{case.name}: the process died")
                return
            broken += [f"{case.name}: {sentence}" for sentence in dict.fromkeys(sentences)]


def print_table(chosen, results):
    print("| case | upstream behind symbolon | client of symbolon | upstream behind nginx | client of nginx |")
    print("| --- | --- | --- | --- | --- |")
    for case in chosen:
        cells = [case.name]
        for name in PROXIES:
            seen = results[name].get(case.name)
            cells += [seen.upstream, seen.client] if seen else ["", ""]
        print("|", " | ".join(cell.replace("|", "\\|") for cell in cells), "|")


def rows_of(chosen, results):
    for case in chosen:
        row = {"case": case.name}
        for name in PROXIES:
            if seen := results[name].get(case.name):
                row |= {f"upstream_{name}": seen.upstream, f"client_{name}": seen.client}
        yield row


def run_cases(chosen, results, broken):
    """Runs all cases through both proxies at once."""
    proxies, threads = [], []
    with tempfile.TemporaryDirectory() as root:
        try:
            for name, proxy_type in PROXIES.items():
                os.mkdir(f"{root}/{name}")
                upstream = Upstream()
                proxies.append(proxy_type(f"{root}/{name}", upstream.port))
                arguments = (chosen, proxies[-1], upstream, name == "symbolon", results[name], broken)
                threads.append(threading.Thread(target=run_all, args=arguments))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for proxy in proxies:
                proxy.stop()
    for name in PROXIES:
        broken += [f"{case.name}: was not tried with {name}" for case in chosen if case.name not in results[name]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="build to test [default: $SYMBOLON_BINARY or target/release/symbolon]")
    parser.add_argument("--case", help="only cases whose names contain this")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    stop_on_signals()
    chosen = [case for case in all_cases() if not options.case or options.case in case.name]
    results, broken = {name: {} for name in PROXIES}, []
    try:
        Symbolon.binary = find_binary(options.binary)
        install({"nginx": "nginx-light"})
        run_cases(chosen, results, broken)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 3
    if options.json:
        document = {"cases": list(rows_of(chosen, results)), "broken": broken}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_table(chosen, results)
        print()
        for promise in broken:
            print(f"BROKEN: {promise}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
