#!/usr/bin/env python3
"""Clients that leave: thousands of disconnects at confirmed phases, judged from outside.

Rounds of clients fill the server: some decode (a streamed answer has begun, or the metrics show it),
some are in prefill (a long prompt whose prefill the metrics show), the rest wait in the queue. The
phases are read from /metrics, then all clients close at once. The process must be idle within 100 ms
of the last leaver: no job is left, and over the following 50 ms it uses next to no processor time.
All KV blocks must be free or cached as at the start, and now and then a plain request must give the
same answer as at the start.

    disconnect.py --model FILE [--binary build/release/wicara] [--count 10000]

Ends with the line "N passed, N failed"; exit status 1 when anything is wrong.
"""
import argparse
import json
import random
import socket
import sys
import time

from wicara_client import Server

PARALLEL = 8
IDLE_WITHIN_S = 0.100


def open_request(server, body):
    data = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return sock


def decode_body(rng, stream):
    return {"prompt": f"{rng.randrange(10**9)} once upon a time", "max_tokens": 1500, "stream": stream,
            "ignore_eos": True, "temperature": 0}


def prefill_body(rng, stream):
    words = " ".join(str(rng.randrange(10**6)) for _ in range(480))
    return {"prompt": words, "max_tokens": 64, "stream": stream, "ignore_eos": True, "temperature": 0}


def phases(server):
    metrics = server.metrics()
    return tuple(int(metrics[f'wicara_jobs{{phase="{p}"}}']) for p in ("queued", "prefill", "decode"))


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return False


def leave(sock, rng):
    if rng.random() < 0.3:  # a reset instead of an orderly end
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def one_round(server, rng, kind, counts, problems):
    """Opens clients until the phase is confirmed, closes them, and times the way to idle."""
    socks = []
    if kind == "decode":
        n = rng.randrange(1, PARALLEL + 1)
        socks += [open_request(server, decode_body(rng, rng.random() < 0.5)) for _ in range(n)]
        confirmed = wait_for(lambda: phases(server)[2] == n, 5)
    elif kind == "prefill":
        n = rng.randrange(1, 4)
        socks += [open_request(server, prefill_body(rng, rng.random() < 0.5)) for _ in range(n)]
        confirmed = wait_for(lambda: phases(server)[1] > 0, 5)
    else:
        n = PARALLEL + rng.randrange(4, 24)
        socks += [open_request(server, decode_body(rng, rng.random() < 0.5)) for _ in range(n)]
        confirmed = wait_for(lambda: sum(phases(server)) == n and phases(server)[0] > 0, 5)
    if not confirmed:
        problems.append(f"{kind}: phase not confirmed, {phases(server)} of {n}")
    rng.shuffle(socks)
    for sock in socks:
        leave(sock, rng)
    left = time.monotonic()
    counts[kind] = counts.get(kind, 0) + len(socks)
    idle = wait_for(lambda: phases(server) == (0, 0, 0), 2)
    took = time.monotonic() - left
    if not idle or took > IDLE_WITHIN_S:
        problems.append(f"{kind}: {n} clients left, idle after {took * 1000:.0f} ms")
    return took


def idle_cpu(server):
    before = server.cpu_seconds()
    time.sleep(0.05)
    return server.cpu_seconds() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    flags = ["--parallel", PARALLEL, "--ctx-size", 4096, "--queue", 64]
    probe = {"prompt": "The capital of France is", "max_tokens": 12, "temperature": 0}
    problems, counts, times, done, checks = [], {}, [], 0, 0
    with Server(args.binary, args.model, *flags) as server:
        def answer():
            return json.loads(server.request("POST", "/v1/completions", probe)[1])["choices"][0]["text"]
        reference = answer()
        wait_for(lambda: phases(server) == (0, 0, 0), 1)
        usage = server.metrics()["vllm:kv_cache_usage_perc"]
        while done < args.count and len(problems) < 20:
            kind = rng.choice(["decode", "decode", "prefill", "queued"])
            before = sum(counts.values())
            times.append(one_round(server, rng, kind, counts, problems))
            done += sum(counts.values()) - before
            if len(times) % 20 == 0:
                checks += 1
                if idle_cpu(server) > 0.02:
                    problems.append("the idle process uses processor time")
                if server.metrics()["vllm:kv_cache_usage_perc"] != usage:
                    problems.append("KV blocks are missing")
                if answer() != reference:
                    problems.append("the next request got another answer")
                wait_for(lambda: phases(server) == (0, 0, 0), 1)
    times.sort()
    print(f"{done} disconnects in {len(times)} rounds: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))
    print(f"last leaver to idle: median {times[len(times) // 2] * 1000:.1f} ms, "
          f"p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms, max {times[-1] * 1000:.1f} ms; {checks} probes")
    for problem in problems:
        print("FAIL ", problem)
    print(f"{len(times) - len(problems)} passed, {len(problems)} failed")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
