"""What the attackers of scripts/hostile send, from where, and what they were answered."""

import collections
import json

from swarm import Asker


def http1(method, path, body=None, headers=()):
    """A request as it goes over the wire."""
    body = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: a.example", *headers]
    if body:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def source(window, number=0):
    """An attacker's address; each window has new ones, so that what was refused in the last does not protect this one."""
    return f"127.0.{window + 1}.{number + 2}"


def askers(count, requests):
    """Peers that take requests in turns from one endless series."""
    return lambda counts: [Asker(counts, requests) for _ in range(count)]


def statuses(found):
    """How often each status was answered, all tags together."""
    total = collections.Counter()
    for counts in found.attackers:
        for key, count in counts.items():
            if isinstance(key, tuple):
                total[key[1]] += count
    return total


def shown(counter):
    return " ".join(f"{status}:{count}" for status, count in sorted(counter.items(), key=str)) or "no answer"
