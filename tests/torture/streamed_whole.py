#!/usr/bin/env python3
"""Streamed = whole: the joined chunks of a stream say what the whole answer says.

N seeded requests over the features of both endpoints are asked twice at the same time, streamed and
whole, eight pairs at once. Every choice (text or message, log-probabilities, token ids, reasons) and
usage must be equal. Each asks under a cache salt of its own, so that cached tokens are equal too.

    streamed_whole.py --model FILE [--binary build/release/wicara] [--count 500]

Ends with the line "N passed, N failed"; exit status 1 when anything differs.
"""
import argparse
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

from wicara_client import Server

TEXTS = ["The sea is", "Write a haiku about snow.", "Zähle: eins, zwei, drei", "def add(a, b):",
         "List three colours.", "Once upon a time 🌊", "Reply with one word: yes or no?",
         "x = 1\ny = 2\n"]
FIELDS = [
    lambda r: {"temperature": 0},
    lambda r: {"temperature": 1.1, "top_p": 0.9, "top_k": r.randrange(0, 60)},
    lambda r: {"temperature": 0.8, "min_p": 0.1, "typical_p": 0.7},
    lambda r: {"xtc_probability": 0.5, "top_n_sigma": 2.0},
    lambda r: {"dry_multiplier": 0.8, "repetition_penalty": 1.2, "repeat_last_n": 30},
    lambda r: {"presence_penalty": 0.5, "frequency_penalty": 0.5},
    lambda r: {"stop": r.sample(["\n", " the", ".", "e ", ", a"], 2),
               "include_stop_str_in_output": r.random() < 0.5, "min_tokens": r.randrange(0, 6)},
    lambda r: {"stop_token_ids": r.sample(range(20, 400), 8)},
    lambda r: {"ignore_eos": True},
    lambda r: {"n": r.randrange(2, 5), "temperature": 1},
    lambda r: {"return_token_ids": True},
    lambda r: {"bad_words": ["the", "a"], "logit_bias": {"30": -100}},
    lambda r: {"stream_usage": True},
]

SCHEMA = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 12}, "n": {"type": "integer"},
    "list": {"type": "array", "items": {"enum": ["a", "é"]}, "maxItems": 4}},
    "required": ["name"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "put", "strict": True, "parameters": SCHEMA}},
         {"type": "function", "function": {"name": "time"}}]
STRUCTURES = [
    lambda r: {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    lambda r: {"response_format": {"type": "json_object"}},
    lambda r: {"guided_regex": "[a-z]{2,8}( [a-z]+)*[.!]"},
    lambda r: {"guided_choice": ["red", "green and blue", "zwölf"]},
    lambda r: {"grammar": 'root ::= "- " [a-z ]+ ("\\n- " [a-z ]+)?'},
]
CALLS = [
    lambda r: {"tools": TOOLS, "tool_choice": "required"},
    lambda r: {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "put"}}},
    lambda r: {"tools": TOOLS, "parallel_tool_calls": False},
]


def add_structure(r, body, is_chat):
    """A form of the answer; such an answer needs its end, and room for it."""
    kind = r.choice(STRUCTURES + CALLS if is_chat else STRUCTURES)
    body.update(kind(r))
    body.pop("ignore_eos", None)
    body.pop("min_tokens", None)
    body["max_tokens"] = r.randrange(60, 90)


def make_request(i):
    r = random.Random(i)
    body = {"max_tokens": r.randrange(1, 40), "seed": i}
    for field in r.sample(FIELDS, r.randrange(1, 4)):
        body.update(field(r))
    running = body.pop("stream_usage", False)
    if i % 5 < 2:
        add_structure(r, body, i % 3 != 0)
    if i % 3:
        body["messages"] = [{"role": "user", "content": r.choice(TEXTS)}]
        if r.random() < 0.2:
            body["messages"].append({"role": "assistant", "content": "Well, it", "prefix": True})
        if r.random() < 0.4:
            body.update(logprobs=True, top_logprobs=r.randrange(0, 6))
        return "/v1/chat/completions", body, running
    body["prompt"] = r.choice([r.choice(TEXTS), r.sample(TEXTS, 2), [r.randrange(20, 9000) for _ in range(9)],
                               [[r.randrange(20, 9000) for _ in range(5)] for _ in range(3)]])
    body["echo"] = r.random() < 0.4
    if r.random() < 0.5:
        body["logprobs"] = r.randrange(0, 6)
    if r.random() < 0.15 and i % 5 >= 2:
        body["max_tokens"] = 0
    return "/v1/completions", body, running


def join_lists(old, new):
    if new is None:
        return old
    if old is None:
        return {k: list(v) if isinstance(v, list) else v for k, v in new.items()}
    return {k: old[k] + v if isinstance(v, list) else v for k, v in new.items()}


def join_delta(message, delta):
    for name, value in delta.items():
        if name == "tool_calls":
            join_calls(message.setdefault("tool_calls", []), value)
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
        else:
            message[name] = value


def join_calls(calls, pieces):
    for piece in pieces:
        if piece["index"] == len(calls):
            calls.append({k: v for k, v in piece.items() if k != "index"})
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


def join(data):
    """The choices and the usage of a stream; and whether its end is in order."""
    events = [e[6:] for e in data.decode().split("\n\n") if e.startswith("data: ")]
    whole = events[-1] == "[DONE]"
    choices, usage = {}, None
    for event in map(json.loads, events[:-1]):
        assert "error" not in event, event
        usage = event.get("usage") or usage
        for c in event["choices"]:
            joined = choices.setdefault(c["index"], {"index": c["index"], "logprobs": None})
            whole = whole and joined.get("finish_reason") is None
            joined["finish_reason"] = c["finish_reason"]
            joined["logprobs"] = join_lists(joined["logprobs"], c["logprobs"])
            if "delta" in c:
                join_delta(joined.setdefault("message", {}), c["delta"])
            else:
                joined["text"] = joined.get("text", "") + c["text"]
            if "token_ids" in c:
                joined["token_ids"] = joined.get("token_ids", []) + c["token_ids"]
            if "stop_reason" in c:
                joined["stop_reason"] = c["stop_reason"]
    return [choices[i] for i in sorted(choices)], usage, whole


def normal(choice):
    """Keys that streams leave out when they are empty."""
    choice = dict(choice)
    if "message" in choice:
        message = {k: v for k, v in choice["message"].items() if v not in (None, [], "")}
        choice["message"] = message
    if choice.get("token_ids") == []:
        del choice["token_ids"]
    lists = choice.get("logprobs")
    if lists and not any(lists.values()):
        choice["logprobs"] = None
    return choice


def compare(server, i):
    path, body, running = make_request(i)
    options = {"include_usage": True, "continuous_usage_stats": running}
    status, whole = server.request("POST", path, {**body, "cache_salt": f"whole {i}"})
    streamed = {**body, "cache_salt": f"stream {i}", "stream": True, "stream_options": options}
    status_stream, data = server.request("POST", path, streamed)
    if status != 200 or status_stream != 200:
        return f"status {status} and {status_stream}: {whole[:200]!r} {data[:200]!r}"
    whole = json.loads(whole)
    choices, usage, in_order = join(data)
    if not in_order:
        return "the stream has no [DONE], or a choice that ends twice"
    if usage != whole["usage"]:
        return f"usage {usage}, whole {whole['usage']}"
    for a, b in zip(map(normal, whole["choices"]), map(normal, choices)):
        if a != b:
            return f"whole    {json.dumps(a)[:1500]}\n        streamed {json.dumps(b)[:1500]}"
    return None if len(choices) == len(whole["choices"]) else "another number of choices"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--count", type=int, default=500)
    args = parser.parse_args()
    failed = 0
    with Server(args.binary, args.model, "--ctx-size", 2048) as server, ThreadPoolExecutor(8) as pool:
        for i, wrong in enumerate(pool.map(lambda i: compare(server, i), range(args.count))):
            if wrong:
                failed += 1
                print(f"FAIL  request {i}: {wrong}", flush=True)
    print(f"{args.count - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
