"""What attackers send, from where, and the answers."""

import collections
import json

from bench.scenarios.hostile.peers import Requester
from bench.scenarios.hostile.swarm import attack


def http1(method, path, body=None, headers=()):
    """A request as it goes over the wire."""
    body = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: a.example", *headers]
    if body:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def source(window, number=0):
    """An attacker's address. Each window has new ones, so that a refusal in the last one does not protect this one."""
    return f"127.0.{window + 1}.{number + 2}"


def swarm_of(port, sources, peers):
    """An attacker for `Observer.compare` that keeps these peers."""
    return lambda ready, stop: attack(port, sources, peers, ready, stop)


def requesters(count, requests):
    """Peers that take requests in turns from one endless series."""
    return lambda counts: [Requester(counts, requests) for _ in range(count)]


def statuses(comparison):
    """How often each status was answered, over all tags."""
    total = collections.Counter()
    for counts in comparison.attackers:
        for key, count in counts.items():
            if isinstance(key, tuple):
                total[key[1]] += count
    return total


def count_tagged(counts, is_counted):
    """The number of answers to one window's attackers for which `is_counted(tag, status)` holds."""
    return sum(count for key, count in counts.items() if isinstance(key, tuple) and is_counted(*key))


def counts_text(counter):
    return " ".join(f"{status}:{count}" for status, count in sorted(counter.items(), key=str)) or "no answer"
