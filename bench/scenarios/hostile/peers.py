"""Connections of an attacker: those that send requests as fast as they can, never finish one, or never read a
response."""

import itertools
import random
import re
import socket
import time

from bench.lib import http2_frames as http2

BIND_ADDRESS_NO_PORT = 24


class Peer:
    """One connection. `counts` is shared by all of a swarm."""

    # Seconds until a connection that ended is opened again.
    pause = 0.1

    def __init__(self, counts):
        self.counts, self.connection, self.unsent, self.opened_at = counts, None, b"", 0.0

    def open(self, port, source):
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        self.connection.bind((source, 0))
        self.connection.connect_ex(("127.0.0.1", port))
        self.opened_at, self.unsent = time.monotonic(), b""
        self.begin()

    def begin(self):
        """Prepares what is sent first."""

    def take(self, piece):
        """Takes what was received; returns whether the connection is still wanted."""
        return True

    def tick(self):
        """Does what is due; called every few milliseconds."""

    def ended(self):
        """The connection was closed, by either side."""


class Pace:
    """Limits how many requests a second the peers that share it send."""

    def __init__(self, rate):
        self.rate, self.begun, self.made = rate, time.monotonic(), 0

    def permits(self):
        is_due = self.made < (time.monotonic() - self.begun) * self.rate
        self.made += is_due
        return is_due


class Requester(Peer):
    """Sends a request as soon as the last one was answered, or when the pace permits.

    A request is a tag, by which answers are counted, and bytes.
    """

    pause = 0

    def __init__(self, counts, requests, pace=None):
        super().__init__(counts)
        self.requests, self.pace = requests, pace

    def begin(self):
        self.head, self.left, self.waits = b"", None, True
        self.next()

    def next(self):
        self.waits = bool(self.pace) and not self.pace.permits()
        if not self.waits:
            self.tag, request = next(self.requests)
            self.unsent += request

    def tick(self):
        if self.waits:
            self.next()

    def take(self, piece):
        if self.left is None:
            self.head += piece
            head, end, piece = self.head.partition(b"\r\n\r\n")
            if not end:
                return True
            self.status = int(head[9:12])
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            self.left = int(length[1]) if length else 0
        self.left -= len(piece)
        if self.left <= 0:
            self.counts[self.tag, self.status] += 1
            self.head, self.left = b"", None
            self.next()
        return True

    def ended(self):
        if not self.waits:
            self.counts[self.tag, "closed"] += 1


class SlowSender(Peer):
    """Sends something, and then a byte a second, or nothing."""

    def __init__(self, counts, start, bytes_after=b""):
        super().__init__(counts)
        self.start, self.bytes_after = start, bytes_after

    def begin(self):
        self.unsent, self.rest, self.due = self.start, iter(self.bytes_after), self.opened_at + random.uniform(0.5, 1.5)

    def take(self, piece):
        if piece.startswith(b"HTTP/1.1 "):
            self.counts["answer", int(piece[9:12])] += 1
        return True

    def tick(self):
        if time.monotonic() >= self.due:
            self.due += 1
            self.unsent += bytes(itertools.islice(self.rest, 1))

    def ended(self):
        self.counts["closed"] += 1


class NonReader(Peer):
    """Sends requests over HTTP/2 with a window for responses, 0 by default, and never widens it; answers pings.

    A request that is refused with 503 is sent again.
    """

    def __init__(self, counts, headers, streams, body=None, window=0, stays=False):
        super().__init__(counts)
        self.headers, self.data, self.streams = headers, [body] if body else [], streams
        self.window, self.stays = window, stays

    def begin(self):
        self.buffer, self.statuses = b"", http2.StatusReader()
        self.open_streams, self.next_stream, self.missing = {}, 1, self.streams
        self.unsent = http2.greeting(self.window)
        self.tick()

    def tick(self):
        for _ in range(self.missing):
            self.unsent += http2.request_frames(self.next_stream, self.headers, *self.data)
            self.open_streams[self.next_stream] = time.monotonic()
            self.next_stream += 2
        self.counts["streams"] += self.missing
        self.missing = 0

    def take(self, piece):
        frames, self.buffer = http2.split_frames(self.buffer + piece)
        for kind, flags, stream, payload in frames:
            if kind == http2.SETTINGS and not flags & http2.ACK:
                self.unsent += http2.frame(http2.SETTINGS, http2.ACK, b"", 0)
            elif kind == http2.PING and not flags & http2.ACK:
                self.unsent += http2.frame(http2.PING, http2.ACK, payload, 0)
            elif kind == http2.HEADERS:
                self.answered(stream, self.statuses.read(payload))
            if kind == http2.RESET or (kind in (http2.HEADERS, http2.DATA) and flags & http2.END_STREAM):
                self.end(stream, "reset" if kind == http2.RESET else "whole")
        return self.stays or bool(self.open_streams) or self.missing > 0

    def answered(self, stream, status):
        self.counts["answer", status] += 1
        if status == 503 and stream in self.open_streams:
            self.unsent += http2.frame(http2.RESET, 0, http2.CANCEL, stream)
            self.end(stream, "given up")
            self.missing += 1

    def end(self, stream, how):
        if stream in self.open_streams:
            self.note_age(self.open_streams.pop(stream))
            self.counts[how] += 1

    def note_age(self, opened_at):
        self.counts["oldest"] = max(self.counts["oldest"], time.monotonic() - opened_at)

    def ended(self):
        self.counts["connections ended"] += 1
        for stream in list(self.open_streams):
            self.end(stream, "ended with the connection")
