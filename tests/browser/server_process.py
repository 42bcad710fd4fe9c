"""Starts the server under test for the browser tests."""
import os
import socket
import subprocess
import time
import urllib.request


class ServerProcess:
    def __init__(self, *flags):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.command = [os.environ.get("WICARA_BIN", "build/release/wicara"), "--model",
                        os.environ["WICARA_TEST_MODEL"], "--port", str(self.port), *flags]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "health")
                return self
            except OSError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise RuntimeError("the server was not ready within 60 s")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(40)
