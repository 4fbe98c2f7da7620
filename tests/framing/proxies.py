"""The gateway and nginx, in front of one upstream each."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from bench.lib.instance import OPERATOR_TOKEN
from bench.lib.processes import DEADLINE, clean_environment, find_program, free_port, until

# A client may take this long for its head, and for each part of what follows.
HEAD, STALL = "2s", "3s"

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {root}/pid;
error_log {root}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    client_header_timeout {head};
    client_body_timeout {stall};
    client_max_body_size 0;
    upstream node {{ server 127.0.0.1:{upstream}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{http2_port} http2;
        location / {{
            proxy_pass http://node;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_request_buffering off;
            proxy_read_timeout {stall};
        }}
    }}
}}
"""


class Proxy:
    """A process between client and upstream."""

    def is_ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/")[0] == 200
        return False

    def get(self, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def is_running(self):
        return self.process.poll() is None

    def another(self):
        """A new process with the same upstream."""
        root = tempfile.mkdtemp(dir=self.root)
        proxy = type(self)(root, self.upstream)
        until("the proxy answers", proxy.is_ready)
        return proxy

    def has_ejected(self):
        """Whether the upstream is ejected as failing."""
        return False

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Symbolon(Proxy):
    binary = None

    def __init__(self, root, upstream):
        self.root, self.upstream = root, upstream
        environment = clean_environment() | {
            "SYMBOLON_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "SYMBOLON_DRAIN_DELAY": "0s",
            "SYMBOLON_DRAIN_TIMEOUT": "1s",
        }
        arguments = [
            "--listen",
            "127.0.0.1:0",
            "--node",
            f"http://127.0.0.1:{upstream}",
            "--health-check-path",
            "/check",
        ]
        arguments += ["--data-dir", f"{root}/data", "--header-timeout", HEAD, "--gateway-timeout", STALL]
        command = [Symbolon.binary, "gateway", *arguments]
        with open(f"{root}/log", "a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        self.port = int(re.search(r":(\d+)$", self.process.stdout.readline().strip())[1])
        self.http2_port = self.port

    def has_ejected(self):
        _, body = self.get("/v1/operator/gateway", {"Authorization": f"Bearer {OPERATOR_TOKEN}"})
        return json.loads(body)["nodes"][0]["ejected"]


class Nginx(Proxy):
    def __init__(self, root, upstream):
        self.root, self.upstream = root, upstream
        self.port, self.http2_port = free_port(), free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        ports = {"upstream": upstream, "port": self.port, "http2_port": self.http2_port}
        Path(f"{root}/nginx.conf").write_text(NGINX.format(root=root, user=user, head=HEAD, stall=STALL, **ports))
        arguments = ["-p", root, "-c", f"{root}/nginx.conf", "-e", f"{root}/error.log"]
        self.process = subprocess.Popen([find_program("nginx"), *arguments])
