"""Servers under test and a light client: what bench.py and traffic.py stand on.

The client of the streaming rows is one loop over non-blocking sockets, so that measuring 32 streams
costs the machine next to nothing. Python's standard library only.
"""
import http.client
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import time

WORDS = (
    "river stone window garden market letter winter bridge signal copper engine paper forest "
    "harbor silver candle mirror valley thunder basket ladder meadow pocket shadow velvet walnut "
    "yellow zebra anchor butter cotton desert feather guitar hammer island jacket kettle lemon"
).split()


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            flags = next(l for l in open("/proc/cpuinfo") if l.startswith("flags")).split()
            marks = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in flags]
            return line.split(":", 1)[1].strip() + " (" + " ".join(marks) + ")"
    return "unknown CPU"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def unique_prompt(rng, n_words):
    return " ".join([f"{rng.randrange(10**6)}"] + [rng.choice(WORDS) for _ in range(n_words)])


class Server:
    """One server under test; started here, ended by its pid."""

    def __init__(self, name, command):
        self.name = name
        self.port = free_port()
        started = time.monotonic()
        self.process = subprocess.Popen(
            [part.replace("{port}", str(self.port)) for part in command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{name} ended with {self.process.returncode}: {command}")
            try:
                if self.get("/health")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.005)
        self.ready_s = time.monotonic() - started

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    def complete(self, prompt, max_tokens):
        """A whole answer at once; returns its usage."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1800)
        connection.request("POST", "/v1/completions", body_of(prompt, max_tokens, False, False),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"{self.name}: {response.status} {data}")
        return data["usage"]

    def n_tokens(self, text):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/tokenize", json.dumps({"content": text}),
                           {"Content-Type": "application/json"})
        return len(json.loads(connection.getresponse().read())["tokens"])

    def metrics(self):
        """Values of /metrics by name, labels dropped; {} when the server has none."""
        status, text = self.get("/metrics")
        if status != 200:
            return {}
        lines = (l.split() for l in text.decode().splitlines() if l and l[0] != "#")
        return {name.split("{")[0]: float(value) for name, value in lines}

    def cpu_by_thread(self):
        """Seconds of CPU of each thread so far."""
        folder, times = f"/proc/{self.process.pid}/task", {}
        for task in os.listdir(folder):
            times[task] = int(open(f"{folder}/{task}/schedstat").read().split()[0]) / 1e9
        return times

    def rss_bytes(self):
        line = next(l for l in open(f"/proc/{self.process.pid}/status") if l.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def body_of(prompt, max_tokens, stream, cache, **more):
    return json.dumps({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0,
                       "ignore_eos": True, "model": "default", "cache_prompt": cache,
                       "stream": stream, **more})


class Stream:
    """One streamed completion: when it was sent and when each token came."""

    def __init__(self, server, prompt, max_tokens, cache=False, **more):
        body = body_of(prompt, max_tokens, True, cache, **more).encode()
        self.request = (f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                        ).encode() + body
        self.port = server.port
        self.times = []
        self.data = b""
        self.usage = None  # with stream_options.include_usage
        self.done = False
        self.failed = None

    def start(self, selector):
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.sendall(self.request)
        self.sent = time.monotonic()
        self.socket.setblocking(False)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def receive(self, selector):
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        now = time.monotonic()
        self.data += data
        while b"\n" in self.data:
            line, self.data = self.data.split(b"\n", 1)
            if line.startswith(b"data: {") and b'"finish_reason":"' not in line.replace(b" ", b""):
                if b'"error"' in line:
                    self.failed = line
                if b'"choices":[]' in line.replace(b" ", b""):
                    self.usage = json.loads(line[6:]).get("usage") or self.usage
                    continue
                self.times.append(now)
            elif line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                self.failed = line
        if not data:
            self.done = True
            selector.unregister(self.socket)
            self.socket.close()

    @property
    def first_s(self):
        return self.times[0] - self.sent

    def gaps(self, first=0.0, last=float("inf")):
        """Seconds between tokens that came in [first, last]."""
        return [b - a for a, b in zip(self.times, self.times[1:]) if first <= b <= last]


def run_streams(timed, until=None):
    """Runs (delay in seconds, Stream) pairs to their ends; `until` may stop earlier."""
    selector = selectors.DefaultSelector()
    start = time.monotonic()
    waiting = sorted(timed, key=lambda t: t[0])
    streams = [s for _, s in waiting]
    while waiting or not all(s.done for s in streams):
        now = time.monotonic() - start
        while waiting and waiting[0][0] <= now:
            waiting.pop(0)[1].start(selector)
        timeout = max(0, waiting[0][0] - now) if waiting else 1
        if not selector.get_map():
            time.sleep(min(timeout, 0.01))
            continue
        for key, _ in selector.select(timeout):
            key.data.receive(selector)
        if until and until():
            break
    for s in streams:
        if s.failed:
            raise SystemExit(f"stream failed: {s.failed[:300]}")
    return streams


def percentile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q / 100 * len(values)))]


def seeded(*parts):
    return random.Random(repr(parts))
