"""Starts server binaries for the tests and talks to them in raw bytes.

The fake engine's binary answers by directive (see fake_engine.c); the real one needs a model.
Paths: WICARA_FAKE_BIN, WICARA_BIN, WICARA_TEST_MODEL; default build/release/.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKE_BIN = os.environ.get("WICARA_FAKE_BIN", str(ROOT / "build/release/wicara_fake"))
REAL_BIN = os.environ.get("WICARA_BIN", str(ROOT / "build/release/wicara"))
MODEL = os.environ.get("WICARA_TEST_MODEL", "")


class Server:
    """One server process on a free port of its own."""

    def __init__(self, binary, model, args=(), env=None, wait=True):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="wicara-test-", suffix=".log")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WICARA_")}
        environment.update(env or {})
        self.process = subprocess.Popen(
            [binary, *(["--model", model] if model else []), "--port", "0", "--user", "root", *args],
            stdout=self.log, stderr=self.log, env=environment, cwd=ROOT)
        self.port = self._find_port()
        self.url = f"http://127.0.0.1:{self.port}"
        if wait:
            self.wait_ready()

    def text(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def _find_port(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = re.search(r"listening on \S+ port (\d+)", self.text())
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError("the server did not start:\n" + self.text())

    def wait_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise RuntimeError("the server ended:\n" + self.text())
            time.sleep(0.02)
        raise RuntimeError("not ready:\n" + self.text())

    def stop(self, seconds=20):
        """SIGTERM; the exit status. Sanitizer reports fail the test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not stop:\n" + self.text()[-4000:])
        text = self.text()
        assert "Sanitizer" not in text, text[-8000:]
        return self.process.returncode

    # ---- HTTP by the standard library, for what the SDK hides ----

    def request(self, method, path, body=None, headers=None):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        head = {"Content-Type": "application/json"} if data is not None else {}
        head.update(headers or {})
        call = urllib.request.Request(self.url + path, data=data, headers=head, method=method)
        try:
            with urllib.request.urlopen(call, timeout=30) as reply:
                return reply.status, dict((k.lower(), v) for k, v in reply.headers.items()), reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict((k.lower(), v) for k, v in error.headers.items()), error.read()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        status, head, data = self.request("POST", path, body, headers)
        return status, head, json.loads(data) if data else None

    def chat(self, text="hello", **fields):
        return self.post("/v1/chat/completions",
                         {"messages": [{"role": "user", "content": text}], **fields})

    def metrics(self):
        """{name or name{labels without model_name}: value}"""
        values = {}
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            name = re.sub(r'model_name="[^"]*",?', "", name).replace("{}", "")
            values[name] = float(value)
        return values

    def idle(self, seconds=5.0):
        """Waits until no job runs or waits; the time it took."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            now = self.metrics()
            if now["vllm:num_requests_running"] + now["vllm:num_requests_waiting"] == 0 and \
                    now["wicara_http_exchanges_waiting"] == 0:
                return time.monotonic() - start
            time.sleep(0.002)
        raise AssertionError(f"still busy: {self.metrics()}")

    # ---- raw bytes ----

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data, seconds=2.0):
        """Sends bytes; returns all that comes until the server closes or is silent for a while."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock, seconds)


def read_all(sock, seconds=2.0):
    sock.settimeout(seconds)
    got = b""
    try:
        while True:
            piece = sock.recv(65536)
            if not piece:
                return got
            got += piece
    except (TimeoutError, ConnectionResetError):
        return got


def read_until(sock, mark, seconds=10.0):
    sock.settimeout(seconds)
    got = b""
    while mark not in got:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return got


def chat_bytes(body, host="127.0.0.1", extra=b""):
    """A raw POST of a chat body."""
    data = json.dumps(body).encode()
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: " + host.encode() +
            b"\r\nContent-Type: application/json\r\n" + extra +
            b"Content-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data)


def unchunk(data):
    """The body of a raw chunked reply."""
    rest, out = data.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        n = int(size, 16)
        out, rest = out + rest[:n], rest[n + 2:]
        if n == 0:
            break
    return out


def events(data):
    """The data of SSE events, JSON ones parsed."""
    out = []
    for block in data.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data: "):
                payload = line[6:]
                out.append(payload if payload == "[DONE]" else json.loads(payload))
    return out
