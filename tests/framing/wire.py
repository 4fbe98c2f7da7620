"""A raw upstream and a raw client, and texts of what they received."""

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass, field

# Seconds without data after which a connection counts as open, and that anything is waited for.
QUIET = 0.25
PATIENCE = 11

HALF_CLOSE, CLOSE, RESPONSE, CONTINUE = "half-close", "close", "response", "continue"
SHORT = {"content-length": "CL", "transfer-encoding": "TE"}
SHOWN = ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "expect", "upgrade"]


class Broken(Exception):
    """The peer closed inside a message."""


def fields(lines):
    """Names in lower case, and values."""
    pairs = [line.partition(b":") for line in lines]
    return [(name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")) for name, _, value in pairs]


def values(headers, name):
    return [value for known, value in headers if known == name]


def is_chunked(headers):
    return any(value.lower().split(",")[-1].strip() == "chunked" for value in values(headers, "transfer-encoding"))


def shown(headers, names):
    return [f"{SHORT.get(name, name)}: {value}" for name in names for value in values(headers, name)]


def quoted(body):
    if len(body) > 60:
        return f"{len(body)} bytes"
    return '"' + body.decode("latin-1").encode("unicode_escape").decode() + '"' if body else "no body"


class Reader:
    """Parses messages as they come."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def more(self):
        piece = self.connection.recv(65536)
        if not piece:
            raise Broken
        self.buffer += piece

    def until(self, mark):
        while mark not in self.buffer:
            self.more()
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken

    def pour(self, count, message):
        while count:
            if not self.buffer:
                self.more()
            piece, self.buffer = self.buffer[:count], self.buffer[count:]
            message.body += piece
            count -= len(piece)

    def body(self, message):
        if is_chunked(message.headers):
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                self.pour(size, message)
                if self.until(b"\r\n"):
                    raise ValueError
            while line := self.until(b"\r\n"):
                message.trailers += fields([line])
        elif lengths := values(message.headers, "content-length"):
            self.pour(int(lengths[0]), message)
        message.end = "whole"


@dataclass
class Request:
    """A request that reached the upstream."""

    head: bytes
    connection: int
    body: bytes = b""
    trailers: list = field(default_factory=list)
    end: str = "unfinished"

    def __post_init__(self):
        line, *rest = self.head.split(b"\r\n")
        self.line, self.headers = line.decode("latin-1"), fields(rest)

    @property
    def path(self):
        return [*self.line.split(" "), ""][1]

    def text(self, watch):
        parts = [self.line, *shown(self.headers, SHOWN + [name for name in watch if name not in SHOWN])]
        parts.append(quoted(self.body))
        parts += [f"trailer {name}: {value}" for name, value in self.trailers]
        return "; ".join(parts + ([self.end] if self.end != "whole" else []))


class Exchange:
    """One request at the upstream, which an answer reads and replies to."""

    def __init__(self, reader, request, number):
        self.reader, self.request, self.number = reader, request, number

    def read(self):
        self.reader.body(self.request)

    def send(self, data):
        self.reader.connection.sendall(data)


def reply(head=b"HTTP/1.1 200 OK\r\nContent-Length: 2", body=b"ok", close=False):
    """An answer that reads the request and sends this response."""

    def answer(exchange):
        exchange.read()
        exchange.send(head + b"\r\n\r\n" + body)
        return close

    return answer


def echo(exchange):
    """Answers with the request's path, which shows whose response it is."""
    exchange.read()
    path = exchange.request.path.encode("latin-1")
    body = b"" if exchange.request.line.startswith("HEAD ") else path
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), body))


class Upstream:
    """A server whose answers each case chooses. An answer returns true to close the connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.answer, self.requests, self.open, self.accepted = echo, [], set(), 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.accepted += 1
                number = self.accepted
                self.open.add(connection)
            threading.Thread(target=self.serve, args=(connection, number), daemon=True).start()

    def serve(self, connection, number):
        reader, request = Reader(connection), None
        try:
            while True:
                head = reader.until(b"\r\n\r\n")
                if head.startswith(b"GET /check "):
                    with self.lock:
                        self.open.discard(connection)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                request = Request(head, number)
                with self.lock:
                    self.requests.append(request)
                    turn = len(self.requests)
                if self.answer(Exchange(reader, request, turn)):
                    break
        except (Broken, OSError):
            if request and request.end == "unfinished":
                request.end = "broken off"
        except ValueError:
            request.end = "misframed"
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()

    def begin(self, answer):
        """Closes connections that the case before left open, and forgets its requests."""
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.answer, self.requests = answer, []

    def settle(self):
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < QUIET:
            if waited > QUIET / 3 and all(request.end != "unfinished" for request in self.requests):
                break
            time.sleep(0.01)
        with self.lock:
            return list(self.requests)


@dataclass
class Response:
    """A response that the client received."""

    status: int
    version: str
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    is_whole: bool = False

    def text(self, watch):
        version = "" if self.version == "HTTP/1.1" else f" ({self.version})"
        if self.status < 200 and self.status != 101:
            return f"{self.status}{version}"
        names = [name for name in SHOWN if name != "host"] + watch
        problem = re.search(rb"urn:symbolon:problem:([a-z-]+)", self.body)
        is_page = any(value.startswith("text/html") for value in values(self.headers, "content-type"))
        # Responses of the gateway or nginx themselves.
        if problem or is_page:
            body = [f"own ({problem[1].decode()})" if problem else "own"]
            names = ["transfer-encoding", "connection"]
        else:
            body = [quoted(self.body)]
        parts = [f"{self.status}{version}", *shown(self.headers, names), *body]
        parts += [f"trailer {name}: {value}" for name, value in self.trailers]
        return "; ".join(parts + ([] if self.is_whole else ["broken off"]))


def responses(received, methods, has_ended):
    """The responses in received bytes, and the rest."""
    found, methods = [], list(methods)
    while received.startswith(b"HTTP/") and b"\r\n\r\n" in received:
        head, _, received = received.partition(b"\r\n\r\n")
        line, *rest = head.split(b"\r\n")
        version, _, status = line.partition(b" ")
        response = Response(int(status[:3]), version.decode(), fields(rest))
        found.append(response)
        if response.status < 200 and response.status != 101:
            response.is_whole = True
            continue
        method = methods.pop(0) if methods else "GET"
        lengths = values(response.headers, "content-length")
        if method == "HEAD" or response.status in (204, 304):
            response.is_whole = True
        elif is_chunked(response.headers):
            received = unchunk(response, received)
        elif lengths:
            length = int(lengths[0])
            response.body, received = received[:length], received[length:]
            response.is_whole = len(response.body) == length
        else:
            response.body, received, response.is_whole = received, b"", has_ended
        if not response.is_whole:
            break
    return found, received


def unchunk(response, received):
    class Rest:
        def recv(self, _):
            return b""

    reader = Reader(Rest())
    reader.buffer = received
    response.end = ""
    with contextlib.suppress(Broken, ValueError):
        reader.body(response)
        response.is_whole = response.end == "whole"
    return reader.buffer


class Client:
    """A connection with a proxy, which a thread reads all the time."""

    def __init__(self, port, methods=()):
        self.connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.methods, self.received, self.ended, self.last = methods, b"", None, time.monotonic()
        self.awaited = 0
        self.begun, self.changed = time.monotonic(), threading.Condition()
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        while self.ended is None:
            ended, piece = None, b""
            try:
                piece = self.connection.recv(65536)
                ended = None if piece else "closed"
            except TimeoutError:
                continue
            except OSError:
                ended = "reset"
            with self.changed:
                self.received += piece
                self.last, self.ended = time.monotonic(), ended
                self.changed.notify_all()

    def responses(self):
        return responses(self.received, self.methods, self.ended == "closed")[0]

    def finals(self):
        return [one for one in self.responses() if one.is_whole and (one.status >= 200 or one.status == 101)]

    def wait(self, condition, seconds=PATIENCE):
        with self.changed:
            return self.changed.wait_for(lambda: condition() or self.ended, seconds)

    def take(self, steps):
        """Carries out steps: sends bytes, waits for seconds or for a response, closes; returns whether it closed."""
        for step in steps:
            with contextlib.suppress(OSError):
                if isinstance(step, bytes):
                    if self.ended is None:
                        self.connection.sendall(step)
                elif step == RESPONSE:
                    self.awaited += 1
                    self.wait(lambda: len(self.finals()) >= self.awaited)
                elif step == CONTINUE:
                    self.wait(self.responses, 1)
                elif step == HALF_CLOSE:
                    self.connection.shutdown(socket.SHUT_WR)
                elif step == CLOSE:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.connection.close()
                    return True
                else:
                    time.sleep(step)
        return False

    def rest(self, expected):
        """Waits for this many responses, and a little longer for more, or for the end."""
        self.wait(lambda: len(self.finals()) >= expected)
        while self.ended is None and time.monotonic() - self.last < QUIET:
            time.sleep(0.02)

    def close(self):
        self.ended = self.ended or "left"
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def text(self, watch):
        found, left = responses(self.received, self.methods, self.ended == "closed")
        parts = [one.text(watch) for one in found]
        if left:
            parts.append(f"{len(left)} stray bytes {quoted(left)}")
        after = self.last - self.begun
        state = (self.ended or "open") + (f" after {after:.0f} s" if after > 1 else "")
        return "; ".join([" + ".join(parts), state] if parts else [state])
