#!/usr/bin/env python3
"""What --kv-dir gives and costs: a prompt's time after a restart, and prompts that evict each other.

    restart.py --model FILE [--binary build/release/wicara] [--tokens 4096] [--rounds 3]

Servers with and without the directory take turns. `restart` starts a server anew each round and asks for
the same prompt of token ids and 4 tokens of answer; the first round, which fills the directory, is not
counted. `evicting` sends unique prompts through a pool of about two of them, so that every block is
given up, and written by the one that has a directory. Answers are compared bit by bit.
"""
import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
from wicara_client import Server  # noqa: E402


def prompt(rng, n_tokens):
    return [rng.randrange(100, 20000) for _ in range(n_tokens)]


def ask(server, ids):
    start = time.perf_counter()
    answer = server.post("/v1/completions", {"prompt": ids, "max_tokens": 4, "temperature": 0,
                                             "logprobs": 1, "ignore_eos": True})
    return time.perf_counter() - start, answer["choices"][0]["logprobs"]


def row(name, plain, spilling):
    ratios = sorted(a / b for a, b in zip(plain, spilling))
    print(f"{name}: without {statistics.median(plain) * 1e3:.0f} ms, with {statistics.median(spilling) * 1e3:.0f} ms, "
          f"ratio {statistics.median(ratios):.2f} [{ratios[0]:.2f}..{ratios[-1]:.2f}]", flush=True)


def restart(args, folder):
    ids, times, answers = prompt(random.Random(1), args.tokens + 1), ([], []), []
    for turn in range(args.rounds + 1):
        for i, flags in enumerate(([], ["--kv-dir", folder])):
            with Server(args.binary, args.model, *flags) as server:
                seconds, answer = ask(server, ids)
            answers.append(answer)
            if turn > 0:
                times[i].append(seconds)
    row(f"restart, prompt of {args.tokens} tokens", *times)
    return all(answer == answers[0] for answer in answers)


def evicting(args, folder):
    rng, times, same = random.Random(2), ([], []), True
    n_tokens = args.tokens // 4
    pool = ["--ctx-size", 2 * n_tokens, "--parallel", 1]
    with Server(args.binary, args.model, *pool) as plain, \
            Server(args.binary, args.model, *pool, "--kv-dir", folder) as spilling:
        for turn in range(2 * args.rounds + 3):  # the first prompts fill the pools
            ids, answers = prompt(rng, n_tokens), [None, None]
            for i in (turn % 2, 1 - turn % 2):
                seconds, answers[i] = ask((plain, spilling)[i], ids)
                if turn > 2:
                    times[i].append(seconds)
            same = same and answers[0] == answers[1]
        metrics = spilling.metrics()
    row(f"evicting, prompts of {n_tokens} tokens", *times)
    print(f"  {metrics['wicara_kv_spilled_blocks_total']:.0f} blocks written, "
          f"{metrics['wicara_kv_dropped_blocks_total']:.0f} dropped")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="wicara-kv-")
    if os.geteuid() == 0:  # whom a server started as root becomes
        shutil.chown(folder, "nobody")
    try:
        same = restart(args, folder) and evicting(args, folder)
    finally:
        shutil.rmtree(folder)
    print("same answers" if same else "ANSWERS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
