"""The proxies: configurations that do the same, start, and readiness."""

import contextlib
import http.client
import os
import subprocess
from pathlib import Path

from bench.lib.errors import MeasurementError
from bench.lib.processes import clean_environment, free_port, pinned

MIB = 1 << 20
OTHERS = ["nginx", "HAProxy"]
# Load-balancing algorithms by proxy.
ALGORITHMS = {
    "by load": {"nginx": "least_conn", "HAProxy": "leastconn", "symbolon": "peak_ewma"},
    "in turns": {"nginx": "round robin", "HAProxy": "roundrobin", "symbolon": "round_robin"},
}

# nginx and HAProxy add the headers that Symbolon adds, but for the trace; no limit of theirs ends connections; nginx
# streams requests, like the others. For bodies of 1 MiB they get the buffers that they are fastest with: with their
# default buffers of 8 and 16 KiB nginx forwards a third as many, and HAProxy two thirds.
NGINX = """
{user}
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log {directory}/log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream nodes {{
        {pick}
        {servers}
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-Id $request_id;
            proxy_request_buffering off;
            {buffers}
        }}
    }}
}}
"""

NGINX_BUFFERS = """
            proxy_buffers 16 64k;
            proxy_buffer_size 64k;
            proxy_busy_buffers_size 512k;
            client_body_buffer_size 64k;
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
    {buffers}
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    option forwardfor
    option httpchk GET /small
    http-reuse always
frontend gateway
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto http
    unique-id-format %[uuid]
    unique-id-header X-Request-Id
    default_backend nodes
backend nodes
    balance {pick}
    {servers}
"""


def nginx_command(_, directory, port, nodes, algorithm, is_large):
    path = Path(directory, "nginx.conf")
    servers = "\n        ".join(f"server {node};" for node in nodes)
    # The worker would be a user who may not use the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    pick = "least_conn;" if algorithm == "least_conn" else ""
    buffers = NGINX_BUFFERS if is_large else ""
    path.write_text(
        NGINX.format(directory=directory, user=user, port=port, pick=pick, servers=servers, buffers=buffers)
    )
    return ["nginx", "-p", directory, "-e", f"{directory}/log", "-c", str(path)]


def haproxy_command(_, directory, port, nodes, algorithm, is_large):
    path = Path(directory, "haproxy.cfg")
    servers = "\n    ".join(f"server node-{number} {node} check inter 1s" for number, node in enumerate(nodes))
    buffers = "tune.bufsize 65536" if is_large else ""
    path.write_text(HAPROXY.format(port=port, pick=algorithm, servers=servers, buffers=buffers))
    return ["haproxy", "-db", "-f", str(path)]


def symbolon_command(binary, directory, port, nodes, algorithm, _):
    command = [binary, "gateway", "--listen", f"127.0.0.1:{port}", "--data", f"{directory}/data", "--log", "warn"]
    command += ["--check-path", "/small", "--max-connections", "100000", "--gateway-algorithm", algorithm]
    return command + [argument for node in nodes for argument in ("--node", f"http://{node}")]


COMMANDS = {"nginx": nginx_command, "HAProxy": haproxy_command, "symbolon": symbolon_command}


def versions(binary):
    commands = [["nginx", "-v"], ["haproxy", "-v"], [binary, "--version"]]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True) for command in commands]
    return [(output.stderr + output.stdout).splitlines()[0] for output in outputs]


def send(address, path):
    """Status and body of one request; a POST of 1 MiB to `/upload`."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(*(("POST", path, bytes(MIB)) if path == "/upload" else ("GET", path)))
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


class Proxy:
    """A running proxy."""

    def __init__(self, name, process, port):
        self.name, self.process, self.address = name, process, f"127.0.0.1:{port}"

    def pids(self):
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def memory(self):
        """Resident memory in MiB; pages that processes share count for each."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def is_ready(self):
        if self.process.poll() is not None:
            raise MeasurementError(f"{self.name} ended with {self.process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return send(self.address, "/small")[0] == 200
        return False


def start_proxy(name, binary, root, nodes, algorithm, is_large, cores, stack):
    """A proxy on these cores, which ends with the stack."""
    directory, port = f"{root}/{name}", free_port()
    os.mkdir(directory)
    command = COMMANDS[name](binary, directory, port, nodes, algorithm, is_large)
    options = {"stdout": subprocess.DEVNULL, "env": clean_environment()}
    return Proxy(name, stack.enter_context(pinned(command, cores, **options)), port)
