"""The whole path with a real model (WICARA_TEST_MODEL): sense, sameness, limits of the model."""

import asyncio
import json
import math
import time

import openai
import pytest

import servers

ASK = [{"role": "user", "content": "Name the capital of France in one word."}]


def create(client, **fields):
    return client.chat.completions.create(**{"model": "default", "messages": ASK, "max_tokens": 16,
                                             "temperature": 0, **fields})


def test_it_makes_sense(real_client):
    reply = create(real_client, messages=[{"role": "user", "content": "Hello!"}]).choices[0]
    assert any(word in reply.message.content for word in ("Hello", "help", "Hi"))


def test_stream_equals_whole(real_client):
    for fields in ({}, {"temperature": 1, "seed": 5, "max_tokens": 40}):
        whole = create(real_client, **fields).choices[0]
        text, finish = "", None
        for chunk in create(real_client, stream=True, **fields):
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        assert (text, finish) == (whole.message.content, whole.finish_reason)


def test_special_tokens_are_shown_when_asked_for(real):
    """The start of a message, forced into the answer: silent, or text like any other token."""
    start = real.post("/tokenize", {"content": "<|im_start|>", "parse_special": True})[2]["tokens"]
    assert len(start) == 1
    body = {"prompt": "Once", "max_tokens": 2, "temperature": 0, "logprobs": 0, "logit_bias": {str(start[0]): 100}}
    silent = real.post("/v1/completions", body)[2]["choices"][0]
    shown = real.post("/v1/completions", {**body, "skip_special_tokens": False})[2]["choices"][0]
    assert (silent["text"], shown["text"]) == ("", 2 * "<|im_start|>")
    assert silent["logprobs"]["token_logprobs"] == shown["logprobs"]["token_logprobs"]
    assert shown["logprobs"]["text_offset"] == [4, 4 + len("<|im_start|>")] or \
        shown["logprobs"]["text_offset"] == [0, len("<|im_start|>")]
    chat = {"messages": ASK, "max_tokens": 2, "temperature": 0, "logit_bias": {str(start[0]): 100},
            "skip_special_tokens": False}
    message = real.post("/v1/chat/completions", chat)[2]["choices"][0]["message"]
    assert message["content"] == 2 * "<|im_start|>"


def test_32_choices_share_a_prompt(real):
    body = {"messages": ASK, "max_tokens": 4, "temperature": 1, "seed": 3}
    answer = real.post("/v1/chat/completions", {**body, "n": 32})[2]
    assert [choice["index"] for choice in answer["choices"]] == list(range(32))
    assert answer["choices"][0]["message"] == real.post("/v1/chat/completions", body)[2]["choices"][0]["message"]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1


def test_returned_seed_repeats_the_answer(real):
    body = {"messages": ASK, "max_tokens": 24, "temperature": 1.2}
    first = real.post("/v1/chat/completions", body)[2]
    again = real.post("/v1/chat/completions", {**body, "seed": first["seed"]})[2]
    assert again["choices"] == first["choices"]


def test_choice_0_equals_a_single_one(real_client):
    fields = {"temperature": 1, "seed": 11, "max_tokens": 20}
    many = create(real_client, n=3, **fields)
    assert many.choices[0].message.content == create(real_client, **fields).choices[0].message.content
    assert len({c.message.content for c in many.choices}) > 1


def test_same_bytes_in_any_company(real):
    """16 requests at once answer as each of them alone does."""
    def body(i):
        return {"messages": [{"role": "user", "content": f"Tell me something about the number {i}."}],
                "max_tokens": 24, "temperature": 0.8, "seed": i}

    async def together():
        async with openai.AsyncOpenAI(base_url=real.url + "/v1", api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(client.chat.completions.create(model="default", **body(i))
                                          for i in range(16)))
    got = [a.choices[0].message.content for a in asyncio.run(together())]
    for i in (0, 7, 15):
        alone = real.post("/v1/chat/completions", body(i))[2]
        assert alone["choices"][0]["message"]["content"] == got[i]


def test_stop_is_never_shown(real_client):
    whole = create(real_client, max_tokens=40, messages=[
        {"role": "user", "content": "Count from one to ten in words."}]).choices[0].message.content
    stop = whole[10:16]
    cut = create(real_client, max_tokens=40, stop=stop, messages=[
        {"role": "user", "content": "Count from one to ten in words."}]).choices[0]
    assert cut.message.content == whole[:whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_logprobs(real_client):
    answer = create(real_client, logprobs=True, top_logprobs=5).choices[0]
    for token in answer.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 5
        values = [t.logprob for t in token.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert token.logprob == values[0]  # greedy
        assert sum(math.exp(v) for v in values) <= 1.0001
        assert bytes(token.bytes).decode(errors="replace") == token.token
    joined = bytes(sum((t.bytes for t in answer.logprobs.content), [])).decode(errors="replace")
    assert joined.startswith(answer.message.content)
    streamed = []
    for chunk in create(real_client, logprobs=True, top_logprobs=5, stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [t.to_dict() for t in streamed] == [t.to_dict() for t in answer.logprobs.content]


def test_length_and_ignore_eos(real_client):
    answer = create(real_client, max_tokens=33, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 33


def test_speculation_can_be_switched_off(real, real_client):
    """The answer is the same; only with it tokens are guessed."""
    ask = {"messages": [{"role": "user", "content": "Repeat: " + "one two three four five six " * 12}],
           "max_tokens": 60, "extra_body": {"ignore_eos": True}}
    name, texts, guessed = "vllm:spec_decode_num_draft_tokens_total", [], []
    for switch in ({}, {"speculation": False}):
        before = real.metrics()[name]
        answer = create(real_client, **{**ask, "extra_body": {**ask["extra_body"], **switch}})
        texts.append(answer.choices[0].message.content)
        guessed.append(real.metrics()[name] - before)
    assert texts[0] == texts[1]
    assert guessed[0] > 0 and guessed[1] == 0


def test_logit_bias_bans(real, real_client):
    paris = create(real_client, logprobs=True).choices[0]
    ids = real.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 1, "temperature": 0,
                                             "return_token_ids": True})[2]["choices"][0]["token_ids"]
    other = create(real_client, logit_bias={str(ids[0]): -100}).choices[0]
    assert other.message.content != paris.message.content
    vocabulary = json.loads(real.get("/v1/models")[2])["data"][0]["meta"]["n_vocab"]
    with pytest.raises(openai.BadRequestError) as caught:
        create(real_client, logit_bias={str(vocabulary): 1})
    assert caught.value.param == "logit_bias"


def test_prompt_too_long(real):
    status, _, answer = real.chat("word " * 4000)
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    status, _, answer = real.chat("word " * 4000, stream=True)
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"


def test_tokens_there_and_back(real):
    text = "Hello, wörld! 🌊 <|im_end|>"
    ids = real.post("/tokenize", {"content": text, "parse_special": False})[2]["tokens"]
    assert real.post("/detokenize", {"tokens": ids})[2]["content"] == text
    pieces = real.post("/tokenize", {"content": text, "with_pieces": True})[2]["tokens"]
    assert b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"])
                    for p in pieces).decode() == text
    assert real.post("/detokenize", {"tokens": [10**6]})[0] == 400


def test_user_text_cannot_be_a_control_token(real):
    plain = real.chat("a<|im_end|>b", max_tokens=1)[2]["usage"]["prompt_tokens"]
    short = real.chat("ab", max_tokens=1)[2]["usage"]["prompt_tokens"]
    assert plain > short + 3


def test_template(real):
    answer = real.post("/apply-template", {"messages": ASK})[2]
    assert answer["prompt"].endswith("<|im_start|>assistant\n")
    assert ASK[0]["content"] in answer["prompt"]


def test_completions(real_client):
    answer = real_client.completions.create(model="default", prompt="The capital of France is",
                                            max_tokens=8, temperature=0, logprobs=2)
    assert "Paris" in answer.choices[0].text
    lists = answer.choices[0].logprobs
    assert len(lists.tokens) == len(lists.text_offset) == answer.usage.completion_tokens
    ids = real_client.post("../tokenize", body={"content": "The capital of France is"},
                           cast_to=object)["tokens"]
    same = real_client.completions.create(model="default", prompt=ids, max_tokens=8, temperature=0)
    assert same.choices[0].text == answer.choices[0].text


def test_prefix_cache_is_reported(real):
    body = {"messages": [{"role": "user", "content": "A long story. " * 60}], "max_tokens": 2,
            "temperature": 0}
    first = real.post("/v1/chat/completions", body)[2]
    again = real.post("/v1/chat/completions", body)[2]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 32
    assert again["choices"] == first["choices"]


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_stops_the_work(real, stream):
    with real.connect() as sock:
        sock.sendall(servers.chat_bytes({"messages": ASK, "max_tokens": 1500, "ignore_eos": True,
                                         "stream": stream}))
        time.sleep(0.3)
        assert real.metrics()["vllm:num_requests_running"] == 1
    assert real.idle(3) < 1
    free = real.metrics()
    assert free["wicara_kv_blocks_free"] == free["wicara_kv_blocks"]
    assert free["vllm:kv_cache_usage_perc"] == 0


def test_metrics_of_a_batch(real):
    before = real.metrics()
    test_same_bytes_in_any_company(real)
    after = real.metrics()
    rows = after["wicara_decode_rows_total"] - before["wicara_decode_rows_total"]
    steps = after["wicara_decode_steps_total"] - before["wicara_decode_steps_total"]
    assert rows / steps > 2  # the 16 shared steps
    assert after["vllm:time_to_first_token_seconds_count"] > before["vllm:time_to_first_token_seconds_count"]
