"""A client of the service on one kept connection."""

import http.client
import json
import socket

from bench.lib.processes import DEADLINE

PASSWORD = "correct horse battery"


class Client:
    """A kept connection with an instance or a gateway. Not for several threads at once."""

    def __init__(self, port, timeout=DEADLINE, source="127.0.0.1"):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout, source_address=(source, 0))
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def raw(self, method, path, body=None, token=None, address=None, if_match=None):
        """Status, headers and body as it came."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if address:
            headers["X-Forwarded-For"] = address
        if if_match:
            headers["If-Match"] = if_match
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def request(self, method, path, body=None, token=None, address=None):
        """Status and decoded body."""
        status, _, text = self.raw(method, path, body, token, address)
        return status, json.loads(text) if text else None

    def register(self, name, password=PASSWORD, address=None):
        """Registers a user and returns it."""
        status, user = self.request("POST", "/v1/users", registration_body(name, password), address=address)
        assert status == 201, (status, user)
        return user

    def login(self, name, password=PASSWORD, address=None):
        """Status and decoded body."""
        return self.request("POST", "/v1/login", login_body(name, password), address=address)

    def token(self, name, password=PASSWORD, address=None):
        """The token of a new session."""
        status, body = self.login(name, password, address)
        assert status == 200, (status, body)
        return body["token"]

    def session_status(self, token):
        return self.raw("GET", "/v1/session", token=token)[0]


def login_body(name, password=PASSWORD):
    return {"login_name": name, "password": password}


def registration_body(name, password=PASSWORD):
    return login_body(name, password) | {"profile": {"name": name, "email": "user@example.com"}}
