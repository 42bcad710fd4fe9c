#!/usr/bin/env python3
"""Start: exec to listening, to ready and to the first token, ours beside llama-server in turn; and
the same server under a memory limit of 1.1 times the file plus the KV pool plus 64 MiB.

    start.py --model FILE [--binary build/release/wicara] [--peer build/peers/build/bin/llama-server]
             [--rounds 5] [--memory-limit]

Times are printed, not judged. With --memory-limit too (needs root and the memory control group) the
server must start and answer 8 requests at once, or the exit status is 1.
"""
import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

from wicara_client import free_port

KV_BYTES = 256 << 20


def first_token(port, started):
    """Seconds from `started` until a connection is accepted, /health is 200, and a token came."""
    listening = ready = None
    body = json.dumps({"model": "default", "prompt": "Once upon a time", "max_tokens": 1, "temperature": 0})
    while True:
        now = time.monotonic()
        if now - started > 120:
            raise SystemExit("not ready within 120 s")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/health")
            status = connection.getresponse().status
            listening = listening or time.monotonic() - started
            if status == 200:
                ready = time.monotonic() - started
                break
        except OSError:
            pass
        time.sleep(0.002)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    return listening, ready, time.monotonic() - started


def run_once(command, hold=None):
    port = free_port()
    started = time.monotonic()
    process = subprocess.Popen([a.replace("{port}", str(port)) for a in command],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hold)
    try:
        return first_token(port, started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def memory_limit(args):
    """Starts ours inside a control group with the promised limit and asks 8 things at once."""
    limit = int(os.path.getsize(args.model) * 1.1) + KV_BYTES + (64 << 20)
    v1, v2 = "/sys/fs/cgroup/memory/wicara-test", "/sys/fs/cgroup/wicara-test"
    group, knob = (v1, "memory.limit_in_bytes") if os.path.isdir("/sys/fs/cgroup/memory") else (v2, "memory.max")
    os.makedirs(group, exist_ok=True)
    open(f"{group}/{knob}", "w").write(str(limit))
    port = free_port()
    process = subprocess.Popen(
        [args.binary, "--model", args.model, "--port", str(port), "--kv-memory", str(KV_BYTES), "--log-level", "error"],
        stdout=subprocess.DEVNULL, preexec_fn=lambda: open(f"{group}/cgroup.procs", "w").write(str(os.getpid())))
    results = []

    def ask(i):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        body = {"model": "default", "prompt": f"{i} " + "word " * 400, "max_tokens": 64, "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        results.append(json.loads(connection.getresponse().read())["usage"]["completion_tokens"])

    try:
        times = first_token(port, time.monotonic())
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        peak = "memory.max_usage_in_bytes" if group == v1 else "memory.peak"
        used = int(open(f"{group}/{peak}").read())
        print(f"limit {limit >> 20} MiB, peak {used >> 20} MiB (page cache included), answers {results}, "
              f"first token after {times[2]:.2f} s")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        os.rmdir(group)
    ok = results == [64] * 8
    print("1 passed, 0 failed" if ok else "0 passed, 1 failed")
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-limit", action="store_true")
    args = parser.parse_args()
    commands = {"wicara": [args.binary, "--model", args.model, "--port", "{port}", "--log-level", "error"]}
    if args.peer:
        commands["llama-server"] = [args.peer, "-m", args.model, "--port", "{port}", "-t", str(os.cpu_count())]
    samples = {name: [] for name in commands}
    for round_number in range(args.rounds + 1):
        for name, command in commands.items():
            times = run_once(command)
            if round_number:
                samples[name].append(times)
    for name, rows in samples.items():
        listening, ready, token = (statistics.median(column) for column in zip(*rows))
        print(f"{name:14} listening {listening * 1000:6.0f} ms   ready {ready * 1000:6.0f} ms   "
              f"first token {token * 1000:6.0f} ms   (median of {args.rounds})", flush=True)
    if args.memory_limit and not memory_limit(args):
        sys.exit(1)


if __name__ == "__main__":
    main()
