"""Many connections of one attacker, kept by one thread: those that ask as fast as they can, that never finish a request,
and that never read a response. A connection that ends is opened again, as long as the attack lasts."""

import collections
import itertools
import random
import re
import resource
import selectors
import socket
import time

import http2_frames as http2

# No attack lasts longer, whatever becomes of those that should end it.
MAX_SECONDS = 120
TICK = 0.02
PAUSE = 0.1
BIND_ADDRESS_NO_PORT = 24


class Peer:
    """One connection. `counts` is shared by all of a swarm."""

    # How long until it is opened again.
    pause = PAUSE

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
        """Says what is sent first."""

    def take(self, piece):
        """Takes what was received; returns whether the connection is still wanted."""
        return True

    def tick(self):
        """Does what is due from time to time."""

    def ended(self):
        """The connection is closed, by either side."""


class Pace:
    """How many requests a second all who share it make."""

    def __init__(self, rate):
        self.rate, self.begun, self.made = rate, time.monotonic(), 0

    def permits(self):
        is_due = self.made < (time.monotonic() - self.begun) * self.rate
        self.made += is_due
        return is_due


class Asker(Peer):
    """Sends a request as soon as the last one was answered, or when the pace permits. A request is a tag, by which answers
    are counted, and bytes."""

    pause = 0

    def __init__(self, counts, requests, pace=None):
        super().__init__(counts)
        self.requests, self.shared_pace = requests, pace

    def begin(self):
        self.head, self.left, self.waits = b"", None, True
        self.next()

    def next(self):
        self.waits = bool(self.shared_pace) and not self.shared_pace.permits()
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


class Holder(Peer):
    """Sends something, and then at most a byte a second, or nothing; each at its own moment of the second."""

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


class Staller(Peer):
    """Makes requests over HTTP/2 with a window for responses, 0 by default, and never widens it; answers pings. A request
    that is refused for lack of places is made again."""

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
            if kind == http2.RESET or kind in (http2.HEADERS, http2.DATA) and flags & http2.END_STREAM:
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


def attack(port, sources, peers, ready, stop):
    """Runs until `stop`; returns what the peers counted. `peers` makes them from their counter. It is `ready` once all have
    sent what they begin with, or for a second have had more to send."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts, selector = collections.Counter(), selectors.DefaultSelector()
    peers, addresses = peers(counts), itertools.cycle(sources)
    closed = collections.deque((0.0, peer) for peer in peers)
    started, ticked, unused = time.monotonic(), 0.0, len(peers)
    end = started + MAX_SECONDS
    counts["oldest"] = 0.0

    def close(peer):
        selector.unregister(peer.connection)
        peer.connection.close()
        peer.connection = None
        peer.ended()
        closed.append((time.monotonic() + peer.pause, peer))

    while not stop.is_set() and (now := time.monotonic()) < end:
        while closed and closed[0][0] <= now:
            _, peer = closed.popleft()
            peer.open(port, next(addresses))
            selector.register(peer.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
            unused -= 1
        if unused <= 0 and not ready.is_set() and (now > started + 1 or not any(peer.unsent for peer in peers)):
            ready.set()
        if now >= ticked + TICK:
            ticked = now
            for peer in peers:
                if peer.connection:
                    peer.tick()
                    if peer.unsent:
                        selector.modify(peer.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
        for key, events in selector.select(TICK):
            peer, before = key.data, key.events
            try:
                wanted = True
                if events & selectors.EVENT_READ:
                    piece = peer.connection.recv(1 << 18)
                    wanted = bool(piece) and peer.take(piece)
                if wanted and peer.unsent:
                    peer.unsent = peer.unsent[peer.connection.send(peer.unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                wanted = False
            after = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
            if not wanted:
                close(peer)
            elif after != before:
                selector.modify(peer.connection, after, peer)
    for peer in peers:
        if isinstance(peer, Staller) and peer.connection:
            for opened_at in peer.open_streams.values():
                peer.note_age(opened_at)
        if peer.connection:
            peer.connection.close()
    counts["held"] = sum(peer.connection is not None for peer in peers)
    return counts
