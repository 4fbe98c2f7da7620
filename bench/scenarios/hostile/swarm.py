"""An attack of many connections, kept by one thread."""

import collections
import itertools
import selectors
import time

from bench.lib.processes import raise_descriptor_limit
from bench.scenarios.hostile.peers import NonReader

# An attack ends after this time, even if nothing stops it.
MAX_SECONDS = 120
TICK = 0.02


def attack(port, sources, peers, ready, stop):
    """Runs until `stop` is set; returns what the peers counted. `peers` creates them from their counter.

    Connections that end are opened again. `ready` is set once all peers have sent their beginning, or after a second.
    """
    raise_descriptor_limit()
    counts, selector = collections.Counter(), selectors.DefaultSelector()
    peers, addresses = peers(counts), itertools.cycle(sources)
    closed = collections.deque((0.0, peer) for peer in peers)
    started, ticked, unopened = time.monotonic(), 0.0, len(peers)
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
            unopened -= 1
        if unopened <= 0 and not ready.is_set() and (now > started + 1 or not any(peer.unsent for peer in peers)):
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
                is_wanted = True
                if events & selectors.EVENT_READ:
                    piece = peer.connection.recv(1 << 18)
                    is_wanted = bool(piece) and peer.take(piece)
                if is_wanted and peer.unsent:
                    peer.unsent = peer.unsent[peer.connection.send(peer.unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                is_wanted = False
            after = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
            if not is_wanted:
                close(peer)
            elif after != before:
                selector.modify(peer.connection, after, peer)
    for peer in peers:
        if isinstance(peer, NonReader) and peer.connection:
            for opened_at in peer.open_streams.values():
                peer.note_age(opened_at)
        if peer.connection:
            peer.connection.close()
    counts["held"] = sum(peer.connection is not None for peer in peers)
    return counts
