#!/usr/bin/env python3
"""Same request, same bytes: the promise of DESIGN, "Numbers", judged from outside over HTTP.

N different requests (greedy and seeded) are answered each alone by a first server, without
speculation. Then other servers answer them all at once, over the thread counts, prefill chunks, with
and without the prefix cache and speculation, with a KV pool so small that sequences are preempted,
and after a restart; some of it once more in the numerics class precise. Token ids and the top-20
log-probabilities, printed in full float precision, must be identical every time. The requests go over
every way of sampling and stopping, several choices, scored prompts, echoed completions, grammars and
tool calls.

    same_bytes.py --model FILE [--binary build/release/wicara] [--count 64] [--quick]

Ends with the line "N passed, N failed"; exit status 1 when anything differs.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading

from wicara_client import Server

TOPICS = ["rivers", "bread", "copper wires", "the moon", "chess", "old maps", "glass", "sailing",
          "honey bees", "trains", "paper", "volcanoes", "violins", "salt", "clocks", "tea"]


def make_requests(count, quick):
    """Answers of the full run are long and end close together, so that most steps decode many rows."""
    rng = random.Random(7)
    shortest, spread, growth = (24, 40, 150) if quick else (180, 40, 20)
    shared = "You keep answers short. " * 12
    requests = []
    for i in range(count):
        topic = TOPICS[i % len(TOPICS)]
        text = f"Question {i}: tell me something about {topic}."
        long_prompt = i % 12 == 0
        if i % 3 == 0:
            words = rng.randrange(20, 320) if quick or long_prompt else rng.randrange(10, 40)
            text += " Background: " + " ".join(rng.choice(TOPICS) for _ in range(words))
        messages = [{"role": "user", "content": text}]
        if i % 2:
            messages.insert(0, {"role": "system", "content": shared})
        body = {"model": "default", "messages": messages, "max_tokens": shortest + rng.randrange(spread),
                "logprobs": True, "top_logprobs": 20, "return_token_ids": True}
        if long_prompt and not quick:  # it is read beside the others' decoding and starts last
            body["max_tokens"] //= 4
        if i % 4 == 0:
            body["temperature"] = 0
        else:
            body.update(temperature=0.9, top_p=0.95, seed=1000 + i)
        if i % 5 == 0:
            body.update(frequency_penalty=0.4, presence_penalty=0.2)
        if i % 7 == 0:
            body["n"] = 2
        if i % 4 == 1:  # outgrows the room that admission leaves, so that a tiny pool preempts
            body["max_tokens"] += growth
        if i % 4 != 3:
            body["ignore_eos"] = True
        body.update(EXTRAS[i % len(EXTRAS)])
        if i % 4 == 1:  # must not end before it has outgrown that room
            body.pop("stop", None)
            body.pop("stop_token_ids", None)
        if i % 4 == 3:
            add_form(body, i // 4, i % 6 == 5)
        if i % 6 == 5:  # the same as a plain text that is echoed and scored
            prompt = "\n".join(m["content"] for m in body.pop("messages"))
            del body["logprobs"], body["top_logprobs"]
            requests.append(("/v1/completions", {**body, "prompt": prompt, "echo": True, "logprobs": 5}))
        else:
            requests.append(("/v1/chat/completions", body))
    return requests


PRECISE = ["--numerics", "precise"]
EXTRAS = [
    {},
    {"dry_multiplier": 0.8, "repetition_penalty": 1.1, "repeat_last_n": 40},
    {"typical_p": 0.8, "min_tokens": 12},
    {"prompt_logprobs": 3, "top_n_sigma": 1.5},
    {"xtc_probability": 0.5, "xtc_threshold": 0.1, "bad_words": ["the"]},
    {"stop": ["\n\n"], "include_stop_str_in_output": True, "cache_salt": "a"},
    {"logit_bias": [["and", False], [5, 2.5]], "stop_token_ids": [28], "min_tokens": 5},
]

ORDER = {"type": "object", "properties": {
    "list": {"type": "array", "minItems": 3, "items": {"type": "string", "minLength": 4}},
    "n": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["list"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "order", "strict": True, "parameters": {
    "type": "object", "properties": {"dish": {"type": "string", "minLength": 20}, "n": {"enum": [1, 2]}},
    "required": ["dish", "n"], "additionalProperties": False}}}]
FORMS = [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER}}},
    {"tools": TOOLS, "tool_choice": "required"},
    {"guided_regex": "([a-z]{2,9} ){12,60}[.!]"},
    {"tools": TOOLS},
    {"grammar": 'root ::= ("- " [a-z ]{4,40} "\\n"){4,20}'},
    {"guided_choice": ["it is far away and it is cold out here", "it was far away and was cold out here"]},
    {"response_format": {"type": "json_object"}},
]


def add_form(body, i, is_text):
    """An answer of a given form; what would keep it from its end goes."""
    form = FORMS[i % len(FORMS)]
    body.update(FORMS[0] if is_text and "tools" in form else form)
    body.pop("min_tokens", None)
    body["max_tokens"] = max(body["max_tokens"], 80)


def essence(answer):
    """What must be identical: ids, text, finish reasons and all log-probabilities as printed."""
    return [(c["index"], c["finish_reason"], c["message"]["content"] if "message" in c else c["text"],
             c["token_ids"], c["logprobs"], c.get("stop_reason"), answer.get("prompt_logprobs"),
             c.get("message", {}).get("tool_calls"))
            for c in answer["choices"]]


def ask_alone(server, requests):
    return [essence(server.post(*request)) for request in requests]


def ask_together(server, requests):
    answers = [None] * len(requests)

    def one(i):
        try:
            answers[i] = essence(server.post(*requests[i]))
        except Exception as error:  # the comparison reports it
            answers[i] = repr(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def differing(reference, answers):
    return [i for i, (a, b) in enumerate(zip(reference, answers)) if a != b]


def report_first_difference(reference, answers, i):
    if isinstance(answers[i], str):
        print(f"  request {i}: {answers[i]}")
        return
    for a, b in zip(reference[i], answers[i]):
        for position, (x, y) in enumerate(zip(a[3], b[3])):
            if x != y:
                print(f"  request {i} choice {a[0]}: token {position} is {y}, was {x}")
                return
        if a != b:
            print(f"  request {i} choice {a[0]}: same tokens, other log-probabilities or ending")
            return


def spill_folder():
    """Of our own, and of the user that a server started as root becomes."""
    folder = tempfile.mkdtemp(prefix="wicara-kv-")
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    return folder


def cases(quick, folder):
    """name, flags, expectation on the metrics (or None), alone"""
    # The first of the two leaves the folder full, so the second begins with what it reads back.
    yield "tiny KV pool, spilling", ["--threads", 2, "--kv-memory", "24M", "--kv-dir", folder], "spill"
    yield "a restart with spilled KV", ["--threads", 1, "--prefill-chunk", 64, "--kv-dir", folder], "reload"
    if quick:
        yield "2 threads, chunk 16, together", ["--threads", 2, "--prefill-chunk", 16], "decode"
        yield "1 thread, no prefix cache, together", ["--threads", 1, "--no-prefix-cache"], None
        yield "3 threads, chunk 64, tiny KV pool", ["--threads", 3, "--prefill-chunk", 64,
                                                    "--kv-memory", "20M"], "preempt"
        yield "2 threads, 4 sequences", ["--threads", 2, "--parallel", 4], "guess"
        return
    for threads in (1, 2, 3):
        for chunk in (16, 64, 512):
            for cache in ([], ["--no-prefix-cache"]):
                name = f"{threads} threads, chunk {chunk}, {'no cache' if cache else 'cache'}"
                # A chunk of 16 admits so slowly that few sequences decode at once.
                yield name, ["--threads", threads, "--prefill-chunk", chunk, *cache], \
                    "decode" if chunk > 16 else None
    for speculation in ("ngram", "off"):
        yield f"4 sequences, speculation {speculation}", \
            ["--threads", 2, "--parallel", 4, "--speculation", speculation], "guess" if speculation != "off" else None
    yield "tiny KV pool, 3 sequences", ["--threads", 2, "--parallel", 3, "--kv-memory", "24M"], "guess"
    yield "tiny KV pool", ["--threads", 2, "--kv-memory", "24M"], "preempt"
    yield "tiny KV pool, chunk 16", ["--threads", 2, "--prefill-chunk", 16, "--kv-memory", "24M"], "preempt"


def precise_cases(quick):
    """The same in the numerics class precise, whose answers are others."""
    if not quick:
        for threads in (1, 3):
            yield f"precise, {threads} threads, no cache", ["--threads", threads, "--no-prefix-cache"], "decode"
        yield "precise, tiny KV pool", ["--threads", 2, "--kv-memory", "24M"], "preempt"
    yield "precise, chunk 16, 4 sequences", ["--threads", 2, "--prefill-chunk", 16, "--parallel", 4], None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    requests = make_requests(args.count, args.quick)
    common = ["--parallel", 80, "--ctx-size", 2048]
    passed = failed = 0

    def check(name, ok, detail=""):
        nonlocal passed, failed
        passed, failed = passed + bool(ok), failed + (not ok)
        print(("ok    " if ok else "FAIL  ") + name + (f": {detail}" if detail else ""), flush=True)

    with Server(args.binary, args.model, "--threads", 2, "--speculation", "off", *common) as server:
        reference = ask_alone(server, requests)
        again = ask_together(server, requests)
        wrong = differing(reference, again)
        check("alone = all at once, prefix-cache hits", not wrong, f"{len(wrong)} differ" if wrong else "")
        if wrong:
            report_first_difference(reference, again, wrong[0])
    total = sum(len(choice[3]) for answer in reference for choice in answer)
    print(f"reference: {len(requests)} requests, {total} tokens")

    for threads in () if args.quick else (1, 3):
        with Server(args.binary, args.model, "--threads", threads, *common) as server:
            wrong = differing(reference, ask_alone(server, requests))
            check(f"{threads} threads, alone, after a restart", not wrong, f"{len(wrong)} differ" if wrong else "")
    folder = spill_folder()
    todo = [(requests, reference, case) for case in cases(args.quick, folder)]
    few = requests[:8] if args.quick else requests
    with Server(args.binary, args.model, *PRECISE, "--threads", 2, "--speculation", "off", *common) as server:
        precise = ask_alone(server, few)
    check("precise answers are not those of fast", precise != reference[:len(few)])
    todo += [(few, precise, (name, PRECISE + flags, expect)) for name, flags, expect in precise_cases(args.quick)]
    for requests, reference, (name, flags, expect) in todo:
        with Server(args.binary, args.model, *common, *flags) as server:
            for _ in range(8):  # whether a pool overflows or a guess pays depends on times too
                answers = ask_together(server, requests)
                wrong = differing(reference, answers)
                metrics = server.metrics()
                preempted = metrics["vllm:num_preemptions_total"]
                drafted = metrics["vllm:spec_decode_num_draft_tokens_total"]
                accepted = metrics["vllm:spec_decode_num_accepted_tokens_total"]
                if wrong or (expect != "preempt" or preempted > 0) and (expect != "guess" or 0 < accepted < drafted):
                    break
        rows = metrics["wicara_decode_rows_total"] / max(1, metrics["wicara_decode_steps_total"])
        detail = f"{rows:.1f} decode rows a step, {preempted:.0f} preemptions"
        check(name, not wrong, detail + (f", {len(wrong)} differ" if wrong else ""))
        if wrong:
            report_first_difference(reference, answers, wrong[0])
        if expect == "decode" and args.count >= 64:
            check(name + ": at least 16 decode rows a step", rows >= 16, f"{rows:.1f}")
        if expect == "guess":
            check(name + ": guesses right and wrong", 0 < accepted < drafted, f"{accepted:.0f} of {drafted:.0f} right")
        if expect in ("spill", "reload"):
            n = metrics[f"wicara_kv_{expect}ed_blocks_total"]
            check(f"{name}: blocks {expect}ed", n > 0, f"{n:.0f}")
        if expect == "preempt":
            check(name + ": preemption happened", preempted > 0, f"{preempted:.0f}")
    shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
