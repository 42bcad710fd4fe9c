"""What the torture scripts share: a server process of ours, its metrics, and plain HTTP calls."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server started here and ended by its pid. Use as a context manager."""

    def __init__(self, binary, model, *flags, quiet=True):
        self.port = free_port()
        self.command = [binary, "--model", model, "--port", str(self.port), "--log-level",
                        "error", *map(str, flags)]
        self.quiet = quiet

    def __enter__(self):
        sink = subprocess.DEVNULL if self.quiet else None
        self.process = subprocess.Popen(self.command, stdout=sink, stderr=sink)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"server ended with {self.process.returncode}: {self.command}")
            try:
                if self.request("GET", "/health")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.01)
        raise SystemExit("server was not ready within 60 s")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def request(self, method, path, body=None, timeout=600):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def post(self, path, body):
        status, data = self.request("POST", path, body)
        if status != 200:
            raise RuntimeError(f"{status}: {data[:300]!r}")
        return json.loads(data)

    def chat(self, body):
        return self.post("/v1/chat/completions", body)

    def metrics(self):
        """Samples without labels, or with labels other than model_name kept in the name."""
        text = self.request("GET", "/metrics")[1].decode()
        values = {}
        for line in text.splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?\s+(\S+)", line)
            if not match or line.startswith("#"):
                continue
            name, labels, value = match.groups()
            kept = [p for p in re.findall(r'\w+="[^"]*"', labels or "")
                    if not p.startswith("model_name=")]
            values[name + ("{" + ",".join(kept) + "}" if kept else "")] = float(value)
        return values

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
