"""A Hugging Face hub on loopback, with its CDN on a second port, that can be told to misbehave.

    hub = FakeHub({"org/repo": {"model.Q4_K_M.gguf": b"..."}})
    hub.faults["model.Q4_K_M.gguf"] = ["drop:1000", "wrong"]     # one for each GET of the contents

Files of LFS_BYTES and more live on the CDN: the hub answers HEAD and GET with a redirect there and
with X-Linked-Etag and X-Linked-Size, as the real one does. hub.requests keeps what was asked.
"""

import functools
import hashlib
import json
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LFS_BYTES = 1000


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@functools.lru_cache(64)
def etag_of(data):
    return hashlib.sha256(data).hexdigest() if len(data) >= LFS_BYTES else git_sha1(data)


class FakeHub:
    def __init__(self, repos, token=None):
        self.repos = repos
        self.token = token           # needed for everything when set
        self.faults = {}             # file name -> list of faults, taken one a request
        self.head_faults = {}        # file name -> fault of every HEAD: "size:N", "etag:X", "none"
        self.api_faults = []         # faults of the API's answers: "status:503", "body:..."
        self.requests = []           # (server, method, path, headers)
        self.extra_names = []        # in the list of files, without contents
        self.bytes_sent = 0
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler(name))
                        for name in ("hub", "cdn")]
        for server in self.servers:
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # clients that leave are part of the tests
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.servers[0].server_port}"
        self.cdn_url = f"http://127.0.0.1:{self.servers[1].server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def commit(self, repo):
        files = sorted((name, etag_of(data)) for name, data in self.repos[repo].items())
        return hashlib.sha1(repr(files).encode()).hexdigest()

    def gets(self, server="cdn"):
        return [r for r in self.requests if r[0] == server and r[1] == "GET"]

    def _handler(hub, name):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_name = name

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub._serve(self)

            do_HEAD = do_GET
        return Handler

    # ---- answers ----

    def _serve(self, request):
        self.requests.append((request.server_name, request.command, request.path,
                              dict(request.headers)))
        path = urllib.parse.unquote(request.path.partition("?")[0])
        try:
            if request.server_name == "cdn":
                return self._cdn(request, path)
            if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
                return self._answer(request, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path)
            if found:
                return self._api(request, found.group(1))
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if found and found.group(1) in self.repos:
                return self._resolve(request, *found.groups())
            self._answer(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True

    def _answer(self, request, status, body, headers=None):
        request.send_response(status)
        for key, value in (headers or {}).items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _api(self, request, repo):
        fault = self.api_faults.pop(0) if self.api_faults else ""
        kind, _, value = fault.partition(":")
        if kind == "status":
            status, _, wait = value.partition(",")
            return self._answer(request, int(status), b"no", {"Retry-After": wait} if wait else {})
        if kind == "body":
            return self._answer(request, 200, value.encode())
        if repo not in self.repos:
            return self._answer(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        names = list(self.repos[repo]) + self.extra_names
        self._answer(request, 200, json.dumps(
            {"id": repo, "sha": self.commit(repo), "private": False,
             "siblings": [{"rfilename": n} for n in names]}).encode())

    def _resolve(self, request, repo, revision, name):
        data = self.repos[repo].get(name)
        if data is None or revision not in (self.commit(repo), "main"):
            return self._answer(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.commit(repo), "ETag": f'"{etag_of(data)}"'}
        fault = self.head_faults.get(name, "") if request.command == "HEAD" else ""
        kind, _, value = fault.partition(":")
        if len(data) < LFS_BYTES:
            if request.command == "HEAD" and kind == "size":
                data = data[:int(value)]
            return self._contents(request, name, data, headers)
        if kind == "etag":
            headers["ETag"] = f'"{value}"'
        headers["X-Linked-Etag"] = headers["ETag"]
        headers["X-Linked-Size"] = value if kind == "size" else str(len(data))
        headers["Location"] = f"{self.cdn_url}/{repo}/{urllib.parse.quote(name)}"
        if kind == "none":
            del headers["X-Linked-Etag"], headers["ETag"]
        self._answer(request, 302, b"Found", headers)

    def _cdn(self, request, path):
        org, repo, name = path[1:].split("/", 2)
        self._contents(request, name, self.repos[f"{org}/{repo}"][name], {})

    def _contents(self, request, name, data, headers):
        faults = self.faults.get(name, [])
        fault = faults.pop(0) if faults and request.command == "GET" else ""
        kind, _, value = fault.partition(":")
        first = 0
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if kind == "status":
            return self._answer(request, int(value), b"no")
        if found and kind != "norange":
            first = int(found.group(1))
            if first >= len(data):
                return self._answer(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
        body = data[first:]
        if kind == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        if kind == "short":
            body = body[:int(value)]
        if kind == "long":
            body = body + b"x" * int(value)
        if request.command == "HEAD":
            body = data
        request.send_response(206 if first else 200)
        for key, text in headers.items():
            request.send_header(key, text)
        if first:
            total = len(data) + (int(value) if kind == "long" else 0)
            request.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        chunked = kind == "chunked"
        if chunked:  # ends early and properly, without ever saying how much it would be
            body = body[:int(value)]
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if kind == "drop":
            request.wfile.write(body[:int(value)])
            request.wfile.flush()
            self.bytes_sent += int(value)
            request.close_connection = True
            return
        if kind == "slow":
            for at in range(0, len(body), int(value)):
                request.wfile.write(body[at:at + int(value)])
                request.wfile.flush()
                time.sleep(0.01)
        elif chunked:
            request.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            request.wfile.write(body)
        self.bytes_sent += len(body)
