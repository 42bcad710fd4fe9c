"""Legacy completions in full, with the real model: batches of prompts, echo, log-probabilities of
the prompt, their sameness whatever the cache holds, and continued messages."""

import json
import math

import pytest

import servers

URL = "/v1/completions"
CHAT = "/v1/chat/completions"
TEXT = "The sea is wide and deep. The sea is"


@pytest.fixture(scope="module")
def post(real):
    def send(path, **body):
        status, _, answer = real.post(path, {"temperature": 0, **body})
        assert status == 200, answer
        return answer
    return send


def stream(real, path, **body):
    """Joined choices by index: text, the four lists, finish_reason; and usage."""
    got = servers.events(real.request("POST", path, {
        "temperature": 0, **body, "stream": True, "stream_options": {"include_usage": True}})[2])
    assert got[-1] == "[DONE]"
    choices = {}
    for chunk in got[:-1]:
        for c in chunk["choices"]:
            joined = choices.setdefault(c["index"], {"text": "", "logprobs": None, "index": c["index"]})
            joined["text"] += c["text"]
            joined["finish_reason"] = c["finish_reason"]
            if "stop_reason" in c:
                joined["stop_reason"] = c["stop_reason"]
            if c["logprobs"]:
                joined["logprobs"] = joined["logprobs"] or {k: [] for k in c["logprobs"]}
                for name, items in c["logprobs"].items():
                    joined["logprobs"][name] += items
    return [choices[i] for i in sorted(choices)], got[-2]["usage"]


def test_a_prompt_scores_as_it_was_generated(post):
    """What decoding said about its tokens is what scoring says about the same text: to the bit."""
    made = post(URL, prompt=TEXT, max_tokens=20, logprobs=3, return_token_ids=True)["choices"][0]
    ids = post("/tokenize", prompt=TEXT)["tokens"] + made["token_ids"]
    for _ in range(2):  # the second time the prefix cache holds it all
        scored = post(URL, prompt=ids, max_tokens=0, echo=True, logprobs=3)
        choice = scored["choices"][0]
        lists = choice["logprobs"]
        n = len(made["token_ids"])
        assert lists["token_logprobs"][-n:] == made["logprobs"]["token_logprobs"]
        assert lists["top_logprobs"][-n:] == made["logprobs"]["top_logprobs"]
        assert lists["tokens"][-n:] == made["logprobs"]["tokens"]
        assert len(lists["tokens"]) == len(ids) == scored["usage"]["prompt_tokens"]
        assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
        assert scored["usage"]["completion_tokens"] == 0 and choice["finish_reason"] == "length"
        assert choice["text"].endswith(made["text"])
        for token, offset in zip(lists["tokens"], lists["text_offset"]):
            assert choice["text"][offset:].startswith(token)


def test_echo(post):
    plain = post(URL, prompt=TEXT, max_tokens=5, logprobs=2)["choices"][0]
    echoed = post(URL, prompt=TEXT, max_tokens=5, echo=True, logprobs=2)["choices"][0]
    assert echoed["text"] == TEXT + plain["text"]
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        assert echoed["logprobs"][name][-5:] == plain["logprobs"][name]
    shift = len(TEXT)
    assert echoed["logprobs"]["text_offset"][-5:] == [o + shift for o in plain["logprobs"]["text_offset"]]
    assert post(URL, prompt=TEXT, max_tokens=5, echo=True)["choices"][0]["text"] == echoed["text"]
    assert post(URL, prompt=TEXT, max_tokens=0, echo=True)["choices"][0]["text"] == TEXT
    assert post(URL, prompt=TEXT, max_tokens=0)["choices"][0]["text"] == ""
    one = post(URL, prompt=[43], max_tokens=1, echo=True, logprobs=1)["choices"][0]["logprobs"]
    assert one["token_logprobs"][0] is None and len(one["tokens"]) == 2


def test_batches(post, real):
    prompts = ["The sun", "A river is", TEXT]
    alone = [post(URL, prompt=p, max_tokens=6, logprobs=1)["choices"][0] for p in prompts]
    ids = [post("/tokenize", prompt=p)["tokens"] for p in prompts]
    for batch in (prompts, ids):
        answer = post(URL, prompt=batch, max_tokens=6, logprobs=1)
        assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
        assert [c["text"] for c in answer["choices"]] == [c["text"] for c in alone]
        assert [c["logprobs"] for c in answer["choices"]] == [c["logprobs"] for c in alone]
        assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))
        assert answer["usage"]["completion_tokens"] == 18
    many = post(URL, prompt=prompts, n=2, max_tokens=6, temperature=1, seed=4, echo=True)["choices"]
    assert [c["index"] for c in many] == list(range(6))
    for i, p in enumerate(prompts):
        single = post(URL, prompt=p, n=2, max_tokens=6, temperature=1, seed=4, echo=True)["choices"]
        assert [c["text"] for c in many[2 * i:2 * i + 2]] == [c["text"] for c in single]
    status, _, answer = real.post(URL, {"prompt": ["fine", "x " * 5000]})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("fields", [
    {"prompt": TEXT, "max_tokens": 12, "logprobs": 2},
    {"prompt": TEXT, "max_tokens": 12, "logprobs": 2, "echo": True},
    {"prompt": TEXT, "max_tokens": 0, "logprobs": 0, "echo": True},
    {"prompt": [TEXT, "One"], "n": 2, "max_tokens": 8, "echo": True, "temperature": 1, "seed": 3},
    {"prompt": [[43, 44, 45], [46]], "n": 2, "max_tokens": 8, "echo": True, "logprobs": 5},
])
def test_stream_equals_whole(real, post, fields):
    whole = post(URL, **fields)
    choices, usage = stream(real, URL, **fields)
    assert choices == whole["choices"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[name] == whole["usage"][name]


def test_prompt_logprobs(post):
    """vLLM's list, in both endpoints, says what the legacy lists say."""
    legacy = post(URL, prompt=TEXT, max_tokens=1, echo=True, logprobs=2)["choices"][0]["logprobs"]
    answer = post(URL, prompt=TEXT, max_tokens=1, prompt_logprobs=2, n=2, temperature=1)
    ids = post("/tokenize", prompt=TEXT)["tokens"]
    for choice in answer["choices"]:
        scores = choice["prompt_logprobs"]
        assert scores[0] is None and len(scores) == len(ids)
        for i in range(1, len(ids)):
            own = scores[i][str(ids[i])]
            assert own["logprob"] == legacy["token_logprobs"][i]
            assert own["decoded_token"] == legacy["tokens"][i]
            assert 2 <= len(scores[i]) <= 3
            ranks = sorted(s["rank"] for s in scores[i].values())
            assert ranks[:2] == [1, 2]
            best = max(s["logprob"] for s in scores[i].values())
            assert (own["rank"] == 1) == (own["logprob"] == best)
    chat = post(CHAT, messages=[{"role": "user", "content": TEXT}], max_tokens=1, prompt_logprobs=0)
    scores = chat["prompt_logprobs"]
    assert len(scores) == chat["usage"]["prompt_tokens"] and all(len(s) == 1 for s in scores[1:])
    assert all(math.isfinite(v["logprob"]) for s in scores[1:] for v in s.values())


def test_long_prompts_score_in_tiles(post):
    """More rows than a tile and than a chunk; equal to the scores of its own beginning."""
    ids = post("/tokenize", prompt="One two three, four five. " * 80)["tokens"]
    whole = post(URL, prompt=ids, max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
    part = post(URL, prompt=ids[:90], max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
    assert len(ids) > 540 and len(whole["tokens"]) == len(ids)
    assert whole["token_logprobs"][:90] == part["token_logprobs"]


def test_suffix_needs_a_model_for_it(real):
    status, _, answer = real.post(URL, {"prompt": "def f(", "suffix": "return x"})
    assert status == 400 and answer["error"]["param"] == "suffix"


def test_continued_message(post):
    ask = [{"role": "user", "content": "Count from one to ten in words."}]
    start = {"role": "assistant", "content": "one, two, three,"}
    prompt = post("/apply-template", messages=[*ask, start], continue_final_message=True)["prompt"]
    assert prompt.endswith("<|im_start|>assistant\none, two, three,")
    by_field = post(CHAT, messages=[*ask, start], continue_final_message=True,
                    add_generation_prompt=False, max_tokens=8)["choices"][0]["message"]["content"]
    by_prefix = post(CHAT, messages=[*ask, {**start, "prefix": True}], max_tokens=8)
    assert by_prefix["choices"][0]["message"]["content"] == by_field
    parts = [{"type": "text", "text": "one, two,"}, {"type": "text", "text": " three,"}]
    assert post("/apply-template", messages=[*ask, {**start, "content": parts, "prefix": True}])[
        "prompt"] == prompt
    ids = post("/tokenize", messages=[*ask, start], continue_final_message=True)["tokens"]
    assert post(URL, prompt=ids, max_tokens=8)["choices"][0]["text"] == by_field
    # Without the fields the answer is a new message, as OpenAI's is.
    assert post("/apply-template", messages=[*ask, start])["prompt"].endswith("<|im_start|>assistant\n")
    assert not post("/apply-template", messages=ask, add_generation_prompt=False)["prompt"].endswith(
        "assistant\n")


def test_progress_and_running_usage(real):
    got = servers.events(real.request("POST", CHAT, {
        "messages": [{"role": "user", "content": "x " * 520}], "max_tokens": 4, "stream": True,
        "return_progress": True, "stream_options": {"continuous_usage_stats": True}})[2])
    progress = [e["prompt_progress"] for e in got[:-1] if "prompt_progress" in e]
    assert len(progress) >= 2
    assert [p["processed"] for p in progress] == sorted(p["processed"] for p in progress)
    assert progress[-1]["processed"] == progress[-1]["total"] > 520
    usage = [e["usage"] for e in got[:-1] if e["choices"]]
    assert usage[-1]["completion_tokens"] == 4 or usage[-1]["completion_tokens"] < 4
    assert all(u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] for u in usage)
    assert json.dumps(usage[0])
