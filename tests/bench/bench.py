#!/usr/bin/env python3
"""Benchmark over HTTP: ours alone, or ours and peers interleaved in one run.

Rows: prefill of one long unique prompt, then 1, 4, 16 and 32 concurrent streams of 128 tokens.
Unique prompts, end-of-sequence ignored, greedy, no prefix-cache hits. Every row runs ours, peer,
ours, peer ... for --rounds rounds after one that is not counted; medians, quartiles and the median
of the pairwise ratios are printed. Requests are not streamed, so that the client costs next to
nothing. Speed is a benchmark here, never a test: this script judges nothing.
"""
import argparse
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

WORDS = (
    "river stone window garden market letter winter bridge signal copper engine paper forest "
    "harbor silver candle mirror valley thunder basket ladder meadow pocket shadow velvet walnut "
    "yellow zebra anchor butter cotton desert feather guitar hammer island jacket kettle lemon"
).split()


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            flags = next(l for l in open("/proc/cpuinfo") if l.startswith("flags"))
            marks = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in flags.split()]
            return line.split(":", 1)[1].strip() + " (" + " ".join(marks) + ")"
    return "unknown CPU"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
        body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0,
                           "ignore_eos": True, "model": "default", "cache_prompt": False})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"{self.name}: {response.status} {data}")
        return data["usage"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def unique_prompt(rng, n_words):
    return " ".join([f"{rng.randrange(10**6)}"] + [rng.choice(WORDS) for _ in range(n_words)])


def run_prefill(server, rng, n_words):
    prompt = unique_prompt(rng, n_words)
    start = time.monotonic()
    usage = server.complete(prompt, 1)
    return usage["prompt_tokens"] / (time.monotonic() - start)


def run_streams(server, rng, n_streams, n_tokens):
    prompts = [unique_prompt(rng, 12) for _ in range(n_streams)]
    totals = [0] * n_streams

    def one(i):
        totals[i] = server.complete(prompts[i], n_tokens)["completion_tokens"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n_streams)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(totals) / (time.monotonic() - start)


def rows(args):
    for n_words in args.prefill:
        yield f"prefill {n_words}w", lambda s, r, n=n_words: run_prefill(s, r, n)
    for n in args.streams:
        yield f"decode {n}", lambda s, r, n=n: run_streams(s, r, n, args.tokens)


def print_table(servers, results):
    print(f"{'row':14}", *(f"{s.name + ' tok/s (q1..q3)':>30}" for s in servers),
          "  ratio first/other")
    for row, samples in results.items():
        cells = []
        for s in servers:
            q = statistics.quantiles(samples[s.name], n=4)
            cells.append(f"{statistics.median(samples[s.name]):9.1f} ({q[0]:.1f}..{q[2]:.1f})")
        ratios = []
        for other in servers[1:]:
            pairs = [a / b for a, b in zip(samples[servers[0].name], samples[other.name])]
            ratios.append(f"{statistics.median(pairs):.2f} [{min(pairs):.2f}..{max(pairs):.2f}]")
        print(f"{row:14}", *(f"{c:>30}" for c in cells), " ", "  ".join(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--peers", help="directory with llama-server (build/peers/build/bin)")
    parser.add_argument("--peer-args", default="-fa auto -b 2048 -ub 512 --no-warmup")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prefill", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 16, 32])
    parser.add_argument("--json", help="also write the samples to this file")
    args = parser.parse_args()

    commands = [("wicara", [args.binary, "--model", args.model, "--port", "{port}", "--parallel",
                            "32", "--threads", str(args.threads), "--log-level", "error"])]
    if args.peers:
        commands.append(("llama.cpp", [
            os.path.join(args.peers, "llama-server"), "-m", args.model, "--port", "{port}",
            "-t", str(args.threads), "-np", "32", "-c", str(32 * 2048), *args.peer_args.split()]))
    servers = []
    try:
        for name, command in commands:
            servers.append(Server(name, command))
        print("CPU:", cpu_name(), "threads:", args.threads, "rounds:", args.rounds)
        print("exec to ready:", ", ".join(f"{s.name} {s.ready_s:.2f} s" for s in servers))
        rng = random.Random(1)
        results = {}
        for row, run in rows(args):
            samples = results.setdefault(row, {s.name: [] for s in servers})
            for round_number in range(args.rounds + 1):
                for server in servers:
                    value = run(server, rng)
                    if round_number:
                        samples[server.name].append(value)
            print("done:", row, file=sys.stderr)
        print_table(servers, results)
        if args.json:
            json.dump({"cpu": cpu_name(), "threads": args.threads, "results": results},
                      open(args.json, "w"), indent=1)
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
