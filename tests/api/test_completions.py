"""Legacy completions, models, tokenize: through the SDK and raw, against the fake engine."""

import struct

import openai
import pytest

import servers


def ask(prompt="x [[tokens=5]]", **fields):
    return dict(model="default", prompt=prompt, temperature=0, **fields)


def test_whole(client):
    answer = client.completions.create(**ask())
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert answer.choices[0].text == "Wicara means speech. It"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 5


def test_default_length_is_16(client):
    answer = client.completions.create(**ask("x [[tokens=100]]"))
    assert answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"


def test_stream(client, fake):
    chunks = list(client.completions.create(**ask("x [[tokens=14]]"), stream=True))
    assert "".join(c.choices[0].text for c in chunks) == client.completions.create(
        **ask("x [[tokens=14]]")).choices[0].text
    assert [c.choices[0].finish_reason for c in chunks].count("stop") == 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    got = servers.events(fake.request("POST", "/v1/completions", ask(
        stream=True, stream_options={"include_usage": True}))[2])
    assert got[-1] == "[DONE]" and got[-2]["choices"] == []
    assert got[-2]["usage"]["completion_tokens"] == 5


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def test_legacy_logprobs(client):
    answer = client.completions.create(**ask("x [[tokens=14]]", logprobs=2)).choices[0]
    lists = answer.logprobs
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == \
        len(lists.text_offset) == 14
    assert f32(lists.token_logprobs[0]) == f32(-0.1)
    assert lists.tokens[:2] == ["Wicara", " means"]
    assert lists.tokens[9:13] == ["bytes:\\x20\\x63\\x61\\x66\\xc3", "bytes:\\xa9",
                                  "bytes:\\x20\\xf0\\x9f", "bytes:\\x8c\\x8a"]
    assert lists.text_offset[0] == 0
    for token, offset in zip(lists.tokens[:9], lists.text_offset):
        assert answer.text[offset:offset + len(token)] == token
    assert answer.text[lists.text_offset[13]:] == " and"
    assert set(lists.top_logprobs[0]) == {"Wicara", " no"}


def test_legacy_logprobs_stream(client):
    whole = client.completions.create(**ask("x [[tokens=14]]", logprobs=1)).choices[0].logprobs
    tokens, offsets, values = [], [], []
    for chunk in client.completions.create(**ask("x [[tokens=14]]", logprobs=1), stream=True):
        lists = chunk.choices[0].logprobs
        if lists:
            tokens += lists.tokens
            offsets += lists.text_offset
            values += lists.token_logprobs
    assert tokens == whole.tokens and offsets == whole.text_offset
    assert values == whole.token_logprobs


def test_zero_logprobs_still_names_the_token(client):
    lists = client.completions.create(**ask(logprobs=0)).choices[0].logprobs
    assert list(lists.top_logprobs[0]) == ["Wicara"]


def test_token_prompt(fake):
    ids = list(b"x [[tokens=3]]")
    status, _, answer = fake.post("/v1/completions", {"prompt": ids, "temperature": 0})
    assert status == 200
    assert answer["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 3,
                               "total_tokens": len(ids) + 3,
                               "prompt_tokens_details": {"cached_tokens": 0},
                               "completion_tokens_details": {"reasoning_tokens": 0},
                               "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": len(ids)}
    status, _, answer = fake.post("/v1/completions", {"prompt": ["x [[tokens=3]]"]})
    assert status == 200 and answer["usage"]["completion_tokens"] == 3


def test_n_and_stop(client):
    answer = client.completions.create(model="default", prompt="x [[tokens=4]]", n=2, seed=3)
    assert [c.index for c in answer.choices] == [0, 1]
    answer = client.completions.create(**ask("x [[tokens=40]]", stop=[" It"]))
    assert answer.choices[0].text == "Wicara means speech."


def test_models(client, fake):
    assert [m.id for m in client.models.list()] == ["fake-model"]
    model = client.models.retrieve("fake-model")
    assert model.object == "model" and model.max_model_len == 4096
    assert fake.get("/v1/models/fake%2Dmodel")[0] == 200
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_tokenize(fake):
    assert fake.post("/tokenize", {"content": "hé"})[2]["tokens"] == [104, 195, 169]
    assert fake.post("/tokenize", {"content": "h", "add_special": True})[2]["tokens"] == [256, 104]
    answer = fake.post("/tokenize", {"prompt": "hi"})[2]
    assert answer == {"tokens": [256, 104, 105], "count": 3, "max_model_len": 4096}
    assert fake.post("/tokenize", {"prompt": "h", "add_special_tokens": False})[2]["tokens"] == [104]
    assert fake.post("/tokenize", {"content": "é", "with_pieces": True})[2]["tokens"] == [
        {"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}]
    answer = fake.post("/detokenize", {"tokens": [104, 195, 169]})[2]
    assert answer["content"] == answer["prompt"] == "hé"


def test_count_and_tokenize_of_a_chat(fake):
    chat = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0}
    status, _, answer = fake.post("/v1/chat/completions/input_tokens", chat)
    assert status == 200 and answer["object"] == "response.input_tokens"
    answer = fake.post("/tokenize", {**chat, "return_token_strs": True})[2]
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    status, head, _ = fake.post("/tokenize", {"content": "x", "invented": 1})
    assert status == 200 and head["x-ignored-params"] == "invented"
    assert fake.post("/tokenize", {"content": "x", "model": "nope"})[0] == 404
    assert fake.post("/v1/chat/completions/input_tokens", {"messages": []})[0] == 400
