"""Raw HTTP: framing that two readers could see differently, limits, deadlines, methods.

The vectors are those that libmicrohttpd 0.9.75 lets through on its own (reference reliability.md,
F1 and F2). Residuals of the parsed head are at the end, as what they are: answered without harm.
"""

import json
import socket
import time

import pytest

import servers

BODY = json.dumps({"messages": [{"role": "user", "content": "x [[tokens=1]]"}]}).encode()
N = str(len(BODY)).encode()
HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"


def post(headers, body=BODY, line=b"POST /v1/chat/completions HTTP/1.1"):
    return line + b"\r\n" + headers + b"\r\n" + body


def chunked(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


NEXT = b"GET /version HTTP/1.1\r\n" + HOST + b"\r\n"

REFUSED = {
    "two lengths": post(HOST + JSON + b"Content-Length: " + N + b"\r\nContent-Length: 0\r\n"),
    "two equal lengths": post(HOST + JSON + (b"Content-Length: " + N + b"\r\n") * 2),
    "length and coding": post(HOST + JSON + b"Content-Length: " + N +
                              b"\r\nTransfer-Encoding: chunked\r\n", chunked(BODY)),
    "blank before colon": post(HOST + JSON + b"Content-Length : " + N + b"\r\n"),
    "tab before colon": post(HOST + JSON + b"Content-Length\t: " + N + b"\r\n"),
    "length list": post(HOST + JSON + b"Content-Length: " + N + b", " + N + b"\r\n"),
    "signed length": post(HOST + JSON + b"Content-Length: +" + N + b"\r\n"),
    "hex length": post(HOST + JSON + b"Content-Length: 0x10\r\n"),
    "huge length": post(HOST + JSON + b"Content-Length: 18446744073709551617\r\n"),
    "two codings": post(HOST + JSON + b"Transfer-Encoding: chunked\r\n" * 2, chunked(BODY)),
    "coding list": post(HOST + JSON + b"Transfer-Encoding: gzip, chunked\r\n", chunked(BODY)),
    "odd coding": post(HOST + JSON + b"Transfer-Encoding: xchunked\r\n", chunked(BODY)),
    "coding in 1.0": post(HOST + JSON + b"Transfer-Encoding: chunked\r\n", chunked(BODY),
                          b"POST /v1/chat/completions HTTP/1.0"),
    "no host": post(JSON + b"Content-Length: " + N + b"\r\n"),
    "two hosts": post(HOST * 2 + JSON + b"Content-Length: " + N + b"\r\n"),
    "host with path": post(b"Host: 127.0.0.1/x?y\r\n" + JSON + b"Content-Length: " + N + b"\r\n"),
    "host with user": post(b"Host: a@127.0.0.1\r\n" + JSON + b"Content-Length: " + N + b"\r\n"),
    "empty host": post(b"Host:\r\n" + JSON + b"Content-Length: " + N + b"\r\n"),
    "bare CR in a value": post(HOST + JSON + b"X: a\rb\r\nContent-Length: " + N + b"\r\n"),
    "control in a value": post(HOST + JSON + b"X: a\x01b\r\nContent-Length: " + N + b"\r\n"),
    "brackets in a name": post(HOST + JSON + b"X[1]: a\r\nContent-Length: " + N + b"\r\n"),
    "lower-case method": post(HOST + JSON + b"Content-Length: " + N + b"\r\n",
                              line=b"post /v1/chat/completions HTTP/1.1"),
    "NUL in the path": b"GET /version%00x HTTP/1.1\r\n" + HOST + b"\r\n",
    "newline in the path": b"GET /version%0a HTTP/1.1\r\n" + HOST + b"\r\n",
    "broken escape": b"GET /version%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET version HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad chunk size": post(HOST + JSON + b"Transfer-Encoding: chunked\r\n", b"xyz\r\n" + BODY),
    "17 hex digits": post(HOST + JSON + b"Transfer-Encoding: chunked\r\n",
                          b"10000000000000000\r\n" + BODY),
    "101 headers": post(HOST + JSON + b"Content-Length: " + N + b"\r\n" + b"".join(
        b"X-%d: y\r\n" % i for i in range(101))),
    "33 KB header": post(HOST + JSON + b"X: " + b"y" * 33000 + b"\r\nContent-Length: " + N + b"\r\n"),
    "50 KB header": post(HOST + JSON + b"X: " + b"y" * 50000 + b"\r\nContent-Length: " + N + b"\r\n"),
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET /version HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /version\r\n\r\n",
    "odd expectation": post(HOST + JSON + b"Expect: 200-maybe\r\nContent-Length: " + N + b"\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_closed(fake, name):
    """4xx, the connection closes, and the bytes behind it are never taken for a request."""
    with fake.connect() as sock:
        try:
            sock.sendall(REFUSED[name] + NEXT)
        except (ConnectionResetError, BrokenPipeError):
            pass
        got = servers.read_all(sock, 3.0)
    assert b"HTTP/1.1 200" not in got, got
    assert b'"version"' not in got, got
    # libmicrohttpd answers some itself, or just closes; what we answer is 4xx.
    if got:
        assert got[:13].startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 5")), got[:100]


OURS = ["two lengths", "length and coding", "blank before colon", "two hosts", "host with path",
        "coding list", "odd coding", "coding in 1.0", "NUL in the path", "lower-case method"]


@pytest.mark.parametrize("name", OURS)
def test_the_gate_answers_in_our_shape(fake, name):
    got = fake.raw(REFUSED[name])
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), got
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_next_request_on_a_kept_connection(fake):
    one = servers.chat_bytes({"messages": [{"role": "user", "content": "x [[tokens=1]]"}]})
    with fake.connect() as sock:
        sock.sendall(one + NEXT + one)  # pipelined: answered in order
        got = servers.read_all(sock, 1.0)
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.index(b"chatcmpl-") < got.index(b'"version"') < got.rindex(b"chatcmpl-")


def test_chunked_body(fake):
    got = fake.raw(post(HOST + JSON + b"Transfer-Encoding: Chunked\r\nConnection: close\r\n",
                        chunked(BODY[:7], BODY[7:])))
    assert got.startswith(b"HTTP/1.1 200 OK") and b"chatcmpl-" in got


def test_http_10_stream_ends_by_close(fake):
    body = json.dumps({"messages": [{"role": "user", "content": "x [[tokens=3]]"}],
                       "stream": True}).encode()
    got = fake.raw(b"POST /v1/chat/completions HTTP/1.0\r\n" + HOST + JSON +
                   b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b"Transfer-Encoding" not in got
    assert got.endswith(b"data: [DONE]\n\n")


def test_absolute_target(fake):
    got = fake.raw(b"GET http://127.0.0.1/version?x=1 HTTP/1.1\r\n" + HOST +
                   b"Connection: close\r\n\r\n")
    assert b'{"version"' in got
    got = fake.raw(b"GET http://evil.example/version HTTP/1.1\r\n" + HOST + b"\r\n")
    assert got.startswith(b"HTTP/1.1 403 ")


# ---- size ----

def test_413_before_the_body(fake):
    head = HOST + JSON + b"Content-Length: %d\r\nExpect: 100-continue\r\n" % (8 * 2**20 + 1)
    got = fake.raw(post(head, b""))
    assert got.startswith(b"HTTP/1.1 413 "), got
    assert b"100 Continue" not in got
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"
    got = fake.raw(post(HOST + JSON + b"Content-Length: 99999999999\r\n", b""))
    assert got.startswith(b"HTTP/1.1 413 ")


def test_413_chunked(fake):
    piece = b"%x\r\n" % 2**20 + b" " * 2**20 + b"\r\n"
    with fake.connect() as sock:
        sock.sendall(post(HOST + JSON + b"Transfer-Encoding: chunked\r\n", piece * 9 + b"0\r\n\r\n"))
        got = servers.read_all(sock, 3.0)
    assert got.startswith(b"HTTP/1.1 413 "), got[:200]
    with fake.connect() as sock:  # past twice the cap the connection is cut
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sock.sendall(post(HOST + JSON + b"Transfer-Encoding: chunked\r\n", piece))
            for _ in range(40):
                sock.sendall(piece)
            raise AssertionError("the server went on reading")
    assert fake.metrics()["wicara_http_body_bytes"] == 0


def test_body_at_the_cap(fake):
    body = BODY + b" " * (8 * 2**20 - len(BODY))
    assert fake.post("/v1/chat/completions", body)[0] == 200


def test_100_continue(fake):
    with fake.connect() as sock:
        sock.sendall(post(HOST + JSON + b"Expect: 100-continue\r\nContent-Length: " + N + b"\r\n", b""))
        assert servers.read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        sock.sendall(BODY)
        assert b"HTTP/1.1 200 OK" in servers.read_until(sock, b"chatcmpl-")
    got = fake.raw(post(HOST + JSON + b"Expect: 100-continue\r\nContent-Length: " + N + b"\r\n", b"",
                        b"POST /nope HTTP/1.1"))
    assert got.startswith(b"HTTP/1.1 405 ") and b"100 Continue" not in got


# ---- methods and media types ----

def test_head_equals_get(fake):
    for path in ("/health", "/v1/models", "/", "/version"):
        got = fake.raw(b"HEAD %s HTTP/1.1\r\n" % path.encode() + HOST + b"Connection: close\r\n\r\n")
        status, head, body = fake.get(path)
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert b"Content-Length: %d\r\n" % len(body) in got
        assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path,allowed", [
    ("/v1/chat/completions", "POST, OPTIONS"), ("/v1/models", "GET, HEAD, OPTIONS"),
    ("/v1/models/x", "GET, HEAD, OPTIONS"), ("/", "GET, HEAD, OPTIONS")])
def test_options_and_405(fake, path, allowed):
    status, head, body = fake.request("OPTIONS", path)
    assert status == 204 and head["allow"] == allowed and body == b""
    assert "access-control-allow-origin" not in head
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        status, head, body = fake.request(method, path)
        assert status == 405 and head["allow"] == allowed
        assert json.loads(body)["error"]["code"] == "method_not_allowed"


def test_404(fake):
    for path in ("/nope", "/v1", "/v1/chat", "/../etc/passwd", "/%2e%2e/etc/passwd", "/index.html/x"):
        status, _, body = fake.get(path)
        assert status == 404, path
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("media,status", [
    ("application/json", 200), ("application/json; charset=utf-8", 200), ("Application/JSON", 200),
    ("application/jsonx", 415), ("text/plain", 415), ("application/x-www-form-urlencoded", 415),
    ("", 415)])
def test_media_type(fake, media, status):
    got, _, body = fake.request("POST", "/v1/chat/completions", BODY, {"Content-Type": media})
    assert got == status
    if status == 415:
        assert json.loads(body)["error"]["code"] == "unsupported_media_type"


# ---- whose page, whose name ----

@pytest.mark.parametrize("host,status", [
    ("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST:99", 200), ("[::1]:80", 200),
    ("10.1.2.3", 200), ("evil.example", 403), ("localhost.evil.example", 403),
    ("127.0.0.1.evil.example", 403)])
def test_host_against_rebinding(fake, host, status):
    got = fake.raw(b"GET /health HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 %d " % status), got


def test_origin(launch):
    server = launch("--allowed-host", "chat.example,other.example", "--cors-origin",
                    "https://app.example")
    own = f"http://127.0.0.1:{server.port}"

    def status(origin):
        got = server.request("POST", "/v1/chat/completions", BODY, {"Origin": origin})
        return got[0], got[1].get("access-control-allow-origin")

    assert status(own) == (200, None)
    assert status("https://chat.example") == (200, None)
    assert status("https://app.example") == (200, "https://app.example")
    assert status("https://evil.example") == (403, None)
    assert status("http://127.0.0.1:1") == (403, None)
    assert status("null") == (403, None)
    code, head, _ = server.request("OPTIONS", "/v1/chat/completions",
                                   headers={"Origin": "https://app.example"})
    assert code == 204 and "POST" in head["access-control-allow-methods"]
    assert server.get("/health", {"Host": "chat.example"})[0] == 200


# ---- time ----

def test_slow_head_and_body_are_cut(launch):
    server = launch("--head-timeout", "1", "--body-timeout", "1")
    dripping = {"head": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
                "body": post(HOST + JSON + b"Content-Length: 1000\r\n", b"{")}
    for name, start in dripping.items():
        with server.connect() as sock:
            sock.sendall(start)
            began = time.monotonic()
            got = b""
            sock.settimeout(0.1)
            while time.monotonic() - began < 5:
                try:
                    sock.sendall(b"y")
                    piece = sock.recv(4096)
                    if not piece:
                        break
                    got += piece
                except TimeoutError:
                    continue
                except (ConnectionResetError, BrokenPipeError):
                    break
            assert 0.8 < time.monotonic() - began < 3, name
            assert got.startswith(b"HTTP/1.1 408 "), (name, got)
            assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    # A connection that never says anything is closed without a word.
    with server.connect() as sock:
        assert servers.read_all(sock, 3) == b""


def test_slow_reader_is_cut(launch):
    """A client that takes nothing: its job pauses at a bounded queue, then is cancelled."""
    server = launch("--slow-reader", "1")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        body = {"messages": [{"role": "user", "content": "x [[tokens=200000 delay_ms=0]]"}],
                "stream": True}
        sock.sendall(servers.chat_bytes(body))
        time.sleep(0.3)
        assert server.metrics()["vllm:num_requests_running"] == 1
        server.idle(15)
    made = server.metrics()["vllm:generation_tokens_total"]
    assert made < 60000, made  # paused long before the end
    assert server.chat("x [[tokens=1]]")[0] == 200


def test_slow_reader_gets_every_byte(launch):
    """Reading in small bites fills the socket again and again, in the middle of chunks; the stream
    is what a fast reader gets, up to ids and times."""
    server = launch("--slow-reader", "5", env={"FAKE_DELAY_MS": "0"})
    body = {"messages": [{"role": "user", "content": "x [[tokens=20000 delay_ms=0]]"}],
            "stream": True, "seed": 1}

    request = servers.chat_bytes(body, extra=b"Connection: close\r\n")

    def text(got):
        events = servers.events(servers.unchunk(got))
        assert events[-1] == "[DONE]"
        return "".join(e["choices"][0]["delta"].get("content") or "" for e in events[:-1])

    whole = text(server.raw(request, 20))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(10)
        sock.sendall(request)
        got = b""
        while piece := sock.recv(3001):
            got += piece
            if len(got) < 300000:
                time.sleep(0.002)
    assert text(got) == whole
    assert whole.count(" ") > 10000


# ---- residuals: forms that the parsed head does not show. Served as one request, nothing else ----

def test_residual_bare_lf(fake):
    got = fake.raw(b"GET /version HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n")
    assert got == b"" or got.count(b"HTTP/1.1 ") == 1


def test_garbage(fake):
    for data in (b"\0" * 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
                 b"\r\n" * 1000, bytes(range(256)) * 20):
        try:
            fake.raw(data, 0.3)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert fake.get("/health")[0] == 200


def test_mutations(launch):
    """A few hundred mutated requests; more with fuzz_http.py."""
    import fuzz_http
    server = launch("--head-timeout", "1", "--body-timeout", "1", env={"FAKE_DELAY_MS": "0"})
    statuses = fuzz_http.campaign(server, 1, 300, 10)
    assert statuses.get("400", 0) > 20 and statuses.get("200", 0) > 2, statuses
