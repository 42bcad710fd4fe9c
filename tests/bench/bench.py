#!/usr/bin/env python3
"""Benchmark over HTTP: ours alone, or ours and a peer interleaved in one run.

Every row runs ours, peer, ours, peer ... for --rounds rounds after one that is not counted;
medians, quartiles, and the median, least and greatest of the pairwise ratios are printed. Unique
prompts, end-of-sequence ignored, greedy; no prefix-cache hits but where the row is about them;
speculation off on both sides but in the row `repeat`. A probe of the machine (read bandwidth, peaks)
runs before and after. Speed is a benchmark here, never a test: this script judges nothing.

Groups of rows (--groups): throughput (prefill, decode by streams), deep (long context), latency (one
4k prompt arrives beside running streams), prefix (the same prompt again), agents (many prompts share
a prefix), server (CPU per streamed token, over HTTP beside the engine alone), repeat (text that
repeats itself, with speculation), traffic (Poisson arrivals: users served within the limits).
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

from servers import Server, Stream, cpu_name, percentile, run_streams, seeded, unique_prompt
from traffic import goodput

GROUPS = ["throughput", "deep", "latency", "prefix", "agents", "server", "repeat", "traffic"]


# ---- rows: each takes (server, rng) and returns {name: (value, unit, better)} ----

def row_prefill(server, rng, n_words):
    prompt = unique_prompt(rng, n_words)
    start = time.monotonic()
    usage = server.complete(prompt, 1)
    return {f"prefill {n_words} words": usage["prompt_tokens"] / (time.monotonic() - start)}


def row_decode(server, rng, n_streams, n_tokens):
    """Tokens of all streams from the last one's first token to the first one's last."""
    streams = [Stream(server, unique_prompt(rng, 12), n_tokens) for _ in range(n_streams)]
    run_streams([(0, s) for s in streams])
    first, last = max(s.times[0] for s in streams), min(s.times[-1] for s in streams)
    if last <= first:
        raise SystemExit(f"{n_streams} streams of {n_tokens} tokens never run together: more --tokens")
    n = sum(first < t <= last for s in streams for t in s.times)
    return {f"decode {n_streams}": n / (last - first)}


def row_deep(server, rng, n_words):
    stream = Stream(server, unique_prompt(rng, n_words), 48)
    run_streams([(0, stream)])
    rate = (len(stream.times) - 1) / (stream.times[-1] - stream.times[0])
    return {f"deep {n_words} words: prefill (words/s)": n_words / stream.first_s,
            f"deep {n_words} words: decode": rate}


def row_latency(server, rng, n_streams, n_words):
    """A long prompt arrives one second after n_streams streams began."""
    alone = Stream(server, unique_prompt(rng, n_words), 1)
    run_streams([(0, alone)])
    streams = [Stream(server, unique_prompt(rng, 12), 4000) for _ in range(n_streams)]
    newcomer = Stream(server, unique_prompt(rng, n_words), 1)

    def over():
        return newcomer.done and time.monotonic() > newcomer.times[-1] + 1

    run_streams([(0, s) for s in streams] + [(1.5, newcomer)], over)
    for s in streams:
        if not s.done:
            s.socket.close()
    arrival, first = newcomer.sent, newcomer.times[0]
    quiet = [g for s in streams for g in s.gaps(arrival - 1, arrival)]
    busy = [g for s in streams for g in s.gaps(arrival, first)]
    name = f"{n_streams} streams, {n_words} words arrive"
    return {f"{name}: inter-token p50 before (ms)": 1e3 * percentile(quiet, 50),
            f"{name}: inter-token p99 meanwhile (ms)": 1e3 * percentile(busy, 99),
            f"{name}: its first token (ms)": 1e3 * newcomer.first_s,
            f"{n_words} words alone: first token (ms)": 1e3 * alone.first_s}


def row_prefix(server, rng, n_words):
    prompt = unique_prompt(rng, n_words)
    first, again = (Stream(server, prompt, 16, cache=True) for _ in range(2))
    run_streams([(0, first)])
    run_streams([(0, again)])
    return {f"{n_words} words, first time: first token (ms)": 1e3 * first.first_s,
            f"{n_words} words, again: first token (ms)": 1e3 * again.first_s,
            f"{n_words} words: inter-token p50 (ms)": 1e3 * percentile(again.gaps(), 50)}


def row_agents(server, rng, n_agents, n_words):
    """n_agents share a prefix of n_words and then differ; they arrive 20 a second. KV memory: the
    most blocks in use at a time, by the different tokens that the agents of that time have at their
    ends (from /metrics, ours only)."""
    shared = unique_prompt(rng, n_words)
    run_streams([(0, Stream(server, shared + " first", 1, cache=True))])
    streams = [Stream(server, f"{shared} agent {i} asks for", 8, cache=True) for i in range(n_agents)]
    most, over = [0, 0], threading.Event()

    def sample():
        while not over.wait(0.1):
            now = server.metrics()
            if "wicara_kv_blocks" not in now:
                return
            used = now["wicara_kv_blocks"] - now["wicara_kv_blocks_free"]
            most[:] = max(most, [used, now["vllm:num_requests_running"]])

    sampler = threading.Thread(target=sample)
    sampler.start()
    run_streams([(i / 20, s) for i, s in enumerate(streams)])
    over.set()
    sampler.join()
    times = [s.first_s for s in streams]
    name = f"{n_agents} agents, {n_words} shared words"
    values = {f"{name}: first token p50 (ms)": 1e3 * percentile(times, 50),
              f"{name}: first token p99 (ms)": 1e3 * percentile(times, 99)}
    if most[0]:
        n_shared = server.n_tokens(shared)
        n_own = server.n_tokens(f"{shared} agent 42 asks for") - n_shared + 8
        values[f"{name}: running at most"] = most[1]
        values[f"{name}: KV per unique token"] = most[0] * 32 / (n_shared + most[1] * n_own)
    return values


def row_server(server, rng, n_streams, n_tokens, engine_bench):
    """CPU of what is not compute per streamed token, and the same load behind engine.h alone."""
    before, m0, start = server.cpu_by_thread(), server.metrics(), time.monotonic()
    client = time.thread_time()
    streams = [Stream(server, unique_prompt(rng, 12), n_tokens) for _ in range(n_streams)]
    run_streams([(0, s) for s in streams])
    seconds, after, m1 = time.monotonic() - start, server.cpu_by_thread(), server.metrics()
    total = n_streams * n_tokens
    values = {f"streamed {n_streams}": total / seconds,
              f"this client per token at {n_streams} (us CPU)":
                  (time.thread_time() - client) / total * 1e6}
    if "wicara_delivery_seconds_total" not in m1:
        return values
    spent = sorted((after[t] - before.get(t, 0) for t in after), reverse=True)
    delivery = m1["wicara_delivery_seconds_total"] - m0["wicara_delivery_seconds_total"]
    sampling = m1["wicara_sampling_seconds_total"] - m0["wicara_sampling_seconds_total"]
    forward = m1["wicara_forward_seconds_total"] - m0["wicara_forward_seconds_total"]
    http = sum(spent[server.threads:])  # the compute threads spend the most
    alone = json.loads(subprocess.run(
        [engine_bench, server.model, "rounds=1", f"tokens={n_tokens}", f"threads={server.threads}",
         "json=1", f"decode:{n_streams}"], check=True, capture_output=True).stdout)["tokens_s"]
    values[f"engine alone {n_streams}"] = alone
    values[f"HTTP threads per token at {n_streams} (us CPU)"] = http / total * 1e6
    values[f"text and events per token at {n_streams} (us)"] = delivery / total * 1e6
    values[f"sampling at {n_streams} (% of a step)"] = 100 * sampling / (forward + sampling + delivery)
    return values


CODE = """def load_{0}(path):
    with open(path) as file:
        rows = [line.split(",") for line in file]
    return {{row[0]: float(row[1]) for row in rows}}

"""


def row_repeat(server, rng, n_tokens):
    """Two texts through one stream: a code edit that repeats its input, and a free story."""
    names = ["prices", "weights", "lengths", "scores", "dates"]
    rng.shuffle(names)
    code = "".join(CODE.format(n) for n in names)
    edit = f"{rng.randrange(10**6)}\n{code}{code}{code}"
    story = f"{rng.randrange(10**6)} Once upon a time, there was a"
    values = {}
    for name, prompt in (("repeating code", edit), ("story", story)):
        start = time.monotonic()
        stream = Stream(server, prompt, n_tokens, **({} if name != "story" else
                                                     {"temperature": 0.8, "seed": rng.randrange(1000)}))
        run_streams([(0, stream)])
        values[f"{name}, 1 stream"] = (n_tokens - 1) / (time.monotonic() - start - stream.first_s)
    return values


def rows_of(group, args):
    if group == "throughput":
        for n in args.prefill:
            yield lambda s, r, n=n: row_prefill(s, r, n)
        for n in args.streams:
            yield lambda s, r, n=n: row_decode(s, r, n, args.tokens)
    elif group == "deep":
        for n in args.deep:
            yield lambda s, r, n=n: row_deep(s, r, n)
    elif group == "latency":
        yield lambda s, r: row_latency(s, r, 8, args.long)
    elif group == "prefix":
        yield lambda s, r: row_prefix(s, r, args.long)
    elif group == "agents":
        yield lambda s, r: row_agents(s, r, args.agents, args.shared)
    elif group == "server":
        for n in args.streams:
            yield lambda s, r, n=n: row_server(s, r, n, args.tokens, args.engine_bench)
    elif group == "repeat":
        yield lambda s, r: row_repeat(s, r, 2 * args.tokens)


# ---- running and printing ----

def probe(args):
    """What the machine can do now: {line of the probe's table: values with 1 and all threads}."""
    try:
        text = subprocess.run([args.probe, str(args.threads)], check=True, capture_output=True,
                              text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    rows = re.findall(r"^(\S.*?)\s{2,}([\d.]+)\s+([\d.]+) (\S+)$", text, re.M)
    return {f"{name} ({unit})": [float(one), float(every)] for name, one, every, unit in rows}


def commands_of(group, args):
    """Each server at the settings that suit the group."""
    n, context = 32, 2048
    long = group in ("deep", "latency", "prefix", "agents", "traffic")
    if long:
        n, context = 32 if group == "traffic" else 12, args.context
    ours = [args.binary, "--model", args.model, "--port", "{port}", "--parallel", "32",
            "--threads", str(args.threads), "--log-level", "error"]
    yield "wicara", ours + ([] if group == "repeat" else ["--speculation", "off"])
    if group == "repeat":
        yield "plain", ours + ["--speculation", "off"]
    if args.peers:
        extra = args.peer_args.split()
        if long:
            extra += ["-kvu"]
        yield "llama.cpp", [os.path.join(args.peers, "llama-server"), "-m", args.model, "--port",
                            "{port}", "-t", str(args.threads), "-np", str(n), "-c",
                            str(context if "-kvu" in extra else n * context), *extra]


def spread(values):
    if len(values) < 2:
        return f"{values[0]:10.1f}"
    q = statistics.quantiles(values, n=4, method="inclusive")  # never beyond what was measured
    return f"{statistics.median(values):10.1f} ({q[0]:.1f}..{q[2]:.1f})"


def print_results(names, results):
    for row, samples in results.items():
        cells = [f"{spread(samples[n]):>32}" if samples.get(n) else f"{'':>32}" for n in names]
        ratios = []
        for other in names[1:]:
            pairs = [a / b for a, b in zip(samples.get(names[0], []), samples.get(other, []))]
            if pairs:
                ratios.append(f"{statistics.median(pairs):.2f} [{min(pairs):.2f}..{max(pairs):.2f}]")
        print(f"{row:52}", *cells, " ", "  ".join(ratios), flush=True)


def run_group(group, args, results):
    """Fills results; returns the servers' names."""
    servers = []
    try:
        for name, command in commands_of(group, args):
            server = Server(name, command)
            server.model, server.threads = args.model, args.threads
            servers.append(server)
        if group == "traffic":
            for server in servers:
                for row, value in goodput(server, args).items():
                    results.setdefault(row, {}).setdefault(server.name, []).append(value)
            return [s.name for s in servers]
        for i, run in enumerate(rows_of(group, args)):
            for round_number in range(args.rounds + 1):
                for server in servers:
                    values = run(server, seeded(group, i, round_number, args.seed))
                    if round_number or args.rounds == 1:
                        for row, value in values.items():
                            results.setdefault(row, {}).setdefault(server.name, []).append(value)
        return [s.name for s in servers]
    finally:
        for server in servers:
            server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--engine-bench", default="build/release/tests/bench/engine_bench")
    parser.add_argument("--probe", default="build/release/tests/bench/probe")
    parser.add_argument("--peers", help="directory with llama-server (build/peers/build/bin)")
    parser.add_argument("--peer-args", default="-fa auto -b 2048 -ub 512 --no-warmup")
    parser.add_argument("--groups", default="throughput", help="comma-separated, or all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prefill", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4, 16, 32])
    parser.add_argument("--deep", type=int, nargs="*", default=[7000], help="words before decode")
    parser.add_argument("--long", type=int, default=4000, help="words of latency and prefix rows")
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--shared", type=int, default=6000, help="words that the agents share")
    parser.add_argument("--context", type=int, default=65536, help="KV tokens of the peer in long rows")
    parser.add_argument("--traffic-seconds", type=float, default=20)
    parser.add_argument("--traffic-rate", type=float, default=0.5, help="requests/s to begin with")
    parser.add_argument("--traffic-kinds", default="chat", help="of chat,rag,agent")
    parser.add_argument("--price", type=float, default=0, help="of the machine an hour, for the cost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write the samples to this file")
    args = parser.parse_args()

    groups = GROUPS if args.groups == "all" else args.groups.split(",")
    print("CPU:", cpu_name(), "threads:", args.threads, "rounds:", args.rounds, "load:",
          open("/proc/loadavg").read().split()[0], "model:", os.path.basename(args.model))
    before = probe(args)
    everything = {}
    for group in groups:
        results = {}
        names = run_group(group, args, results)
        print(f"{group + ' (tokens/s unless said)':52}", *(f"{n + ' (q1..q3)':>32}" for n in names),
              "  ratio to each other [least..greatest]")
        print_results(names, results)
        everything.update(results)
    after = probe(args)
    for name, values in before.items():
        print(f"probe {name}: 1 thread {values[0]:g}, {args.threads} threads {values[1]:g}, "
              f"after {after.get(name, [0, 0])[1]:g}")
    print("load at the end:", open("/proc/loadavg").read().split()[0])
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"cpu": cpu_name(), "threads": args.threads, "probe": before,
                       "results": everything}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
