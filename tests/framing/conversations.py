"""Cases that speak in another way than through steps: races, many clients, HTTP/2."""

import random
import threading
import time
from collections import Counter

from case import (
    POISON,
    ROUNDS,
    Case,
    says,
)
from wire import PATIENCE, QUIET, RESPONSE, Client, echo

from bench.lib.http2_frames import http2_request, http2_text


def tally(counts):
    return ", ".join(f"{count} × {what}" for what, count in sorted(counts.items(), key=lambda pair: str(pair[0])))


def patient_client(port, client):
    return client if client and client.ended is None else Client(port)


def race(method):
    """The upstream closes a kept connection at about the moment the next request comes."""

    def answer(exchange):
        echo(exchange)
        if exchange.request.path.startswith("/first"):
            time.sleep(random.uniform(0, 0.001))
            return True
        return False

    def run(proxy, upstream):
        body = b"Content-Length: 5\r\n\r\nhello" if method == b"POST" else b"\r\n"
        statuses, client = Counter(), None
        for number in range(ROUNDS):
            for part in (b"first", b"second"):
                client = patient_client(proxy.port, client)
                before = len(client.finals())
                head = b"%s /%s-%d HTTP/1.1\r\nHost: a.example\r\n" % (
                    b"GET" if part == b"first" else method,
                    part,
                    number,
                )
                client.take([head + (b"\r\n" if part == b"first" else body), RESPONSE])
                if part == b"second":
                    found = client.finals()[before:]
                    statuses[found[0].status if found else "closed"] += 1
                else:
                    time.sleep(random.uniform(0, 0.001))
            if number % 20 == 19:
                # What is kept would get too long to take apart.
                client.close()
        times = Counter(request.path for request in upstream.settle() if request.path.startswith("/second"))
        sent = Counter(times.values())
        broken = says(method != b"POST" or max(sent, default=0) <= 1, "a POST was sent twice")
        return (
            f"{sum(sent.values())} of {ROUNDS} came; sent {tally({f'{n} times': c for n, c in sent.items()})}",
            tally(statuses),
            broken,
        )

    return Case(f"idle connection closed as a {method.decode()} comes, {ROUNDS} rounds", [], answer, run=run)


# When the upstream sends an unrequested response: with its response, a little later, or as the next request comes.
TOGETHER, LATER, MEANWHILE = "at once", "1 ms later", "as another client asks"


def blame(name, steps, answer=echo):
    """Many clients at once make one mistake, for which the upstream must not be ejected."""

    def attempt(port):
        client = Client(port)
        if not client.take(steps):
            client.wait(client.finals)
            client.close()

    def run(proxy, upstream):
        upstream.begin(echo)
        fresh = proxy.another()
        try:
            upstream.begin(answer)
            clients = [threading.Thread(target=attempt, args=(fresh.port,)) for _ in range(8)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            time.sleep(QUIET)
            is_out = fresh.has_ejected()
        finally:
            fresh.stop()
        return "is ejected" if is_out else "is kept", "", says(not is_out, "clients had a node ejected")

    return Case(f"8 times: {name}", [], answer, run=run)


def poison(attack, what, reply_with, when):
    """The upstream sends more than its response; another client asks next."""
    sent = threading.Event()

    def answer(exchange):
        if exchange.request.path != "/attack":
            return echo(exchange)
        exchange.read()
        if when == TOGETHER:
            exchange.send(reply_with + POISON)
        else:
            exchange.send(reply_with)
            time.sleep(0.001 if when == LATER else random.uniform(0, 0.001))
            exchange.send(POISON)
            sent.set()
        return False

    def run(proxy, _):
        counts, attacker, victim = Counter(), None, None
        for number in range(ROUNDS):
            attacker, victim = patient_client(proxy.port, attacker), patient_client(proxy.port, victim)
            attacker.methods = [attack.split(b" ")[0].decode()] * ROUNDS
            sent.clear()
            attacker.take([attack, RESPONSE])
            if when == LATER:
                sent.wait(PATIENCE)
                time.sleep(0.02)
            before = len(victim.finals())
            victim.take([b"GET /victim-%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number, RESPONSE])
            found = victim.finals()[before:]
            kind = "closed" if not found else "its own" if found[0].body == b"/victim-%d" % number else found[0].status
            counts["another's" if kind == 200 else kind] += 1
            if number % 20 == 19:
                attacker.close()
                victim.close()
        # Once the next request is on its way, the gateway cannot tell whose response it is.
        is_kept = when == MEANWHILE or "another's" not in counts
        return "", tally(counts), says(is_kept, "clients got another's response")

    return Case(f"{what}, and a whole response {when}, {ROUNDS} rounds: the next client gets", [], answer, run=run)


def http2(name, headers, *data, **more):
    pseudo = {
        b":method": b"POST" if data else b"GET",
        b":scheme": b"http",
        b":authority": b"a.example",
        b":path": b"/x",
    }
    pseudo |= {key: value for key, value in headers if key.startswith(b":")}
    rest = [(key, value) for key, value in headers if not key.startswith(b":")]
    request = http2_request([*pseudo.items(), *rest], *data)

    def run(proxy, upstream, watch):
        client = Client(proxy.http2_port)
        client.take([request])
        client.wait(lambda: http2_text(client.received)[1])
        time.sleep(QUIET)
        client.close()
        requests = upstream.settle()
        return requests, http2_text(client.received)[0] or "nothing"

    return Case(f"HTTP/2: {name}", [], run=run, http2=True, **more)
