#!/usr/bin/env python3
"""Throws mutated requests at a server: spliced vectors of test_http.py, cut, doubled, sent in two
pieces, half-closed. The server must live, come to rest, and answer the next request.

    tests/api/fuzz_http.py [SEED] [SECONDS]      with WICARA_FAKE_BIN, best a sanitizer build

test_http.py runs a few hundred of them; for a campaign run this by itself.
"""

import random
import socket
import sys
import tempfile
import time

import servers
import test_http

PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"Content-Length: 5\r\n",
          b"Content-Length: 999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"%00",
          b"Host: x\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0",
          b"Connection: close\r\n", b"5\r\nhello\r\n", b"\xff", b"GET / HTTP/1.1\r\n"]


def seeds():
    ask = {"messages": [{"role": "user", "content": "x [[tokens=3]]"}]}
    return [*test_http.REFUSED.values(), test_http.NEXT, servers.chat_bytes(ask),
            servers.chat_bytes({**ask, "stream": True}),
            test_http.post(test_http.HOST + test_http.JSON + b"Content-Length: 15\r\n",
                           b'{"content":"a"}', b"POST /tokenize HTTP/1.1"),
            b"GET /metrics HTTP/1.1\r\n" + test_http.HOST + b"\r\n"]


def mutate(draw, pool):
    data = bytearray(b"".join(draw.choice(pool) for _ in range(draw.randint(1, 3))))
    for _ in range(draw.randint(0, 5)):
        at, kind = draw.randrange(len(data) + 1), draw.random()
        if kind < 0.3 and at < len(data):
            data[at] = draw.randrange(256)
        elif kind < 0.6:
            data[at:at] = draw.choice(PIECES)
        elif kind < 0.8:
            del data[at:at + draw.randint(1, 20)]
        else:
            data[at:at] = data[at // 2:at // 2 + 30]
    return bytes(data)


def throw(server, draw, data):
    """Sends one input; the status of the first reply, or ""."""
    got = b""
    try:
        with server.connect() as sock:
            cut = draw.randrange(len(data) + 1) if draw.random() < 0.3 else len(data)
            sock.sendall(data[:cut])
            sock.sendall(data[cut:])
            if draw.random() < 0.5:
                sock.shutdown(socket.SHUT_WR)
            got = servers.read_all(sock, draw.choice([0.001, 0.02]))
    except OSError:
        pass
    return got[9:12].decode(errors="replace")


def campaign(server, seed, n_most, seconds):
    draw, pool, statuses = random.Random(seed), seeds(), {}
    end = time.monotonic() + seconds
    for n in range(n_most):
        if time.monotonic() > end:
            break
        data = mutate(draw, pool)
        status = throw(server, draw, data)
        statuses[status] = statuses.get(status, 0) + 1
        assert server.process.poll() is None, (seed, n, data, server.text()[-3000:])
    server.idle(10)
    assert server.chat("x [[tokens=2]]")[0] == 200
    return statuses


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.NamedTemporaryFile(suffix=".gguf") as model:
        server = servers.Server(servers.FAKE_BIN, model.name,
                                ["--head-timeout", "1", "--body-timeout", "1"],
                                env={"FAKE_DELAY_MS": "0"})
        statuses = campaign(server, seed, 10**9, seconds)
        print(f"seed {seed}: {sum(statuses.values())} inputs, by status {statuses}")
        sys.exit(server.stop())


if __name__ == "__main__":
    main()
