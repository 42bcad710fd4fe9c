"""Chat completions through the official SDK, against the fake engine: the protocol."""

import asyncio
import json
import struct

import openai
import pytest

import servers

TEXT = "Wicara means speech. It speaks many tongues, café 🌊 and says \"yes\"\n\nLine two ends"


def ask(text="hello [[tokens=12]]", **fields):
    return dict(model="default", messages=[{"role": "user", "content": text}], temperature=0, **fields)


def test_whole_answer(client):
    answer = client.chat.completions.create(**ask("hello [[tokens=20 cached=1]]"))
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "fake-model"
    assert answer.system_fingerprint == "fp_fake"
    assert choice.message.role == "assistant"
    assert choice.message.content == TEXT
    assert choice.finish_reason == "stop"
    assert choice.logprobs is None
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20
    assert answer.usage.prompt_tokens_details.cached_tokens == 1
    assert isinstance(answer.seed, int)


def test_stream_shape(client):
    chunks = list(client.chat.completions.create(**ask("x [[tokens=20]]"), stream=True))
    assert len({c.id for c in chunks}) == 1
    assert len({c.created for c in chunks}) == 1
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert {c.model for c in chunks} == {"fake-model"}
    assert {c.system_fingerprint for c in chunks} == {"fp_fake"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert all(c.choices[0].delta.role is None for c in chunks[1:])
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
    finishes = [c.choices[0].finish_reason for c in chunks]
    assert finishes[-1] == "stop" and finishes[:-1] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].delta.content is None
    assert all(c.usage is None for c in chunks)


def test_stream_bytes(fake):
    """What the SDK hides: one [DONE], usage null only when asked, no usage chunk unless asked."""
    body = ask("x [[tokens=3]]", stream=True)
    status, head, data = fake.request("POST", "/v1/chat/completions", body)
    assert status == 200
    assert head["content-type"].startswith("text/event-stream")
    assert head["cache-control"] == "no-store"
    assert head["x-accel-buffering"] == "no"
    got = servers.events(data)
    assert got.count("[DONE]") == 1 and got[-1] == "[DONE]"
    assert all("usage" not in e for e in got[:-1])
    body["stream_options"] = {"include_usage": True}
    got = servers.events(fake.request("POST", "/v1/chat/completions", body)[2])
    assert all(e["usage"] is None for e in got[:-2])
    assert got[-2]["choices"] == [] and got[-2]["usage"]["completion_tokens"] == 3


def test_stream_equals_whole(fake):
    body = {"messages": [{"role": "user", "content": "q [[tokens=31]]"}], "seed": 7}
    whole = fake.post("/v1/chat/completions", body)[2]["choices"][0]["message"]["content"]
    got = servers.events(fake.request("POST", "/v1/chat/completions", {**body, "stream": True})[2])
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in got[:-1])
    assert text == whole


def test_async_client(fake):
    asyncio.run(use_async_client(fake))


async def use_async_client(fake):
    async with openai.AsyncOpenAI(base_url=fake.url + "/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(**ask())
        assert answer.choices[0].message.content.startswith("Wicara means")
        text = ""
        async for chunk in await client.chat.completions.create(**ask(), stream=True):
            text += chunk.choices[0].delta.content or ""
        assert text == answer.choices[0].message.content


def test_32_streams_at_once(fake):
    """Nothing is lost, mixed up or starved while many streams suspend and resume."""
    asyncio.run(use_32_streams(fake))


async def use_32_streams(fake):
    async with openai.AsyncOpenAI(base_url=fake.url + "/v1", api_key="none", max_retries=0) as client:
        async def one(seed):
            text = ""
            stream = await client.chat.completions.create(
                model="default", messages=[{"role": "user", "content": "x [[tokens=60 delay_ms=5]]"}],
                seed=seed, stream=True)
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            return text
        together = await asyncio.gather(*(one(seed) for seed in range(32)))
        alone = [await one(seed) for seed in (0, 13, 31)]
    assert [together[0], together[13], together[31]] == alone
    assert len(set(together)) == 32


def test_n_choices(client):
    answer = client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": "x [[tokens=9]]"}], n=3, seed=1)
    texts = [c.message.content for c in answer.choices]
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert answer.usage.completion_tokens == 27
    streamed = {0: "", 1: "", 2: ""}
    finishes = []
    for chunk in client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "x [[tokens=9]]"}], n=3, seed=1,
            stream=True):
        choice = chunk.choices[0]
        streamed[choice.index] += choice.delta.content or ""
        finishes += [choice.index] * (choice.finish_reason is not None)
    assert list(streamed.values()) == texts
    assert sorted(finishes) == [0, 1, 2]


def test_max_tokens(client):
    answer = client.chat.completions.create(**ask("x [[tokens=50]]", max_tokens=4))
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 4
    answer = client.chat.completions.create(**ask("x [[tokens=50]]", max_tokens=4,
                                                  max_completion_tokens=6))
    assert answer.usage.completion_tokens == 6


@pytest.mark.parametrize("stop", ["speaks", ["never", "speaks"]])
def test_stop(client, stop):
    answer = client.chat.completions.create(**ask("x [[tokens=50]]", stop=stop))
    assert answer.choices[0].message.content == "Wicara means speech. It "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].stop_reason == "speaks"
    text = "".join(c.choices[0].delta.content or "" for c in
                   client.chat.completions.create(**ask("x [[tokens=50]]", stop=stop), stream=True))
    assert text == "Wicara means speech. It "


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def test_logprobs(client, fake):
    answer = client.chat.completions.create(**ask("x [[tokens=13]]", logprobs=True, top_logprobs=3))
    content = answer.choices[0].logprobs.content
    assert len(content) == 13
    assert bytes(sum((t.bytes for t in content), [])).decode() == answer.choices[0].message.content
    assert all(len(t.top_logprobs) == 3 for t in content)
    assert f32(content[0].logprob) == f32(-0.1)  # printed so that it reads back as the same float
    streamed = []
    for chunk in client.chat.completions.create(**ask("x [[tokens=13]]", logprobs=True, top_logprobs=3),
                                                stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [t.to_dict() for t in streamed] == [t.to_dict() for t in content]
    answer = client.chat.completions.create(**ask("x [[tokens=2]]", logprobs=True))
    assert answer.choices[0].logprobs.content[0].top_logprobs == []


def test_return_token_ids(fake):
    status, _, answer = fake.chat("x [[tokens=4]]", temperature=0, return_token_ids=True)
    assert status == 200
    assert answer["choices"][0]["token_ids"] == [1000, 1001, 1002, 1003]
    got = servers.events(fake.request("POST", "/v1/chat/completions",
                                      ask("x [[tokens=4]]", stream=True, return_token_ids=True))[2])
    ids = sum((e["choices"][0].get("token_ids", []) for e in got[:-1]), [])
    assert ids == [1000, 1001, 1002, 1003]


def test_seed(fake):
    first = fake.chat("x [[tokens=20]]")[2]
    again = fake.chat("x [[tokens=20]]", seed=first["seed"])[2]
    other = fake.chat("x [[tokens=20]]", seed=first["seed"] ^ 1)[2]
    text = first["choices"][0]["message"]["content"]
    assert again["seed"] == first["seed"]
    assert again["choices"][0]["message"]["content"] == text
    assert other["choices"][0]["message"]["content"] != text
    for seed in (2**53 + 1, 2**63 - 1, -2**63, -1, 0):
        assert fake.chat("x [[tokens=1]]", seed=seed)[2]["seed"] == seed


def test_roles_and_contents(fake):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}], "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1.0}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
        {"role": "user", "content": "go [[tokens=2]]"}]
    status, _, answer = fake.post("/v1/chat/completions", {"messages": messages})
    assert status == 200, answer


def test_messages_reach_the_engine_as_written(fake):
    """Numbers keep their spelling; the role developer becomes system, and nothing else changes."""
    raw = (b'{"messages":[{"role":"developer","content":"d", "n":1.0},'
           b'{"role":"user","content":"\\u00e9x","big":12345678901234567890}]}')
    status, _, answer = fake.post("/apply-template", raw)
    assert status == 200
    assert answer["prompt"] == ('[{"role":"system","content":"d","n":1.0},'
                                '{"role":"user","content":"\\u00e9x","big":12345678901234567890}]')


def test_ignored_params(fake):
    status, head, _ = fake.chat("x [[tokens=1]]", user="u", metadata={"a": "b"}, store=True,
                                service_tier="flex", invented=1,
                                tools=[{"type": "function", "function": {"name": "f"}}],
                                tool_choice="none", **{"bad name\r\nX: y": 1})
    assert status == 200
    names = head["x-ignored-params"].split(", ")
    assert sorted(names) == sorted(["user", "metadata", "store", "service_tier",
                                    "invented"])
    assert "x" not in head
    head = fake.chat("x [[tokens=1]]", temperature=None, store=False, service_tier="auto")[1]
    assert "x-ignored-params" not in head  # what would happen anyway


def test_neutral_values_pass(fake):
    status, head, _ = fake.chat("x [[tokens=1]]", response_format={"type": "text"}, tools=[],
                                tool_choice="auto", modalities=["text"], min_tokens=0, echo=False,
                                stop_token_ids=[], reasoning_effort="none", logit_bias={})
    assert status == 200
    assert "x-ignored-params" not in head


def test_request_id(fake):
    assert fake.chat("x [[tokens=1]]")[1]["x-request-id"].startswith("req_")
    head = fake.request("POST", "/v1/chat/completions", ask("x [[tokens=1]]"),
                        {"X-Request-Id": "my-id.1"})[1]
    assert head["x-request-id"] == "my-id.1"
    head = fake.request("POST", "/v1/chat/completions", ask("x [[tokens=1]]"),
                        {"X-Request-Id": "a b<c>"})[1]
    assert head["x-request-id"].startswith("req_")


def test_error_mid_stream(fake, client):
    body = ask("x [[tokens=50 fail_after=3]]", stream=True)
    status, _, data = fake.request("POST", "/v1/chat/completions", body)
    got = servers.events(data)
    assert status == 200
    assert "[DONE]" not in got  # a cut answer must not look whole
    assert got[-1]["error"]["type"] == "server_error"
    assert set(got[-1]["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**body))


def test_error_before_the_first_token_has_a_status(fake):
    status, _, answer = fake.chat("x [[reject=1]]", stream=True)
    assert status == 400 and answer["error"]["type"] == "invalid_request_error"
    status, _, answer = fake.chat("x [[tokens=5 fail_after=0.5 prefill_ms=20]]", stream=False)
    assert status == 500 and answer["error"]["type"] == "server_error"


def test_busy(fake):
    status, head, answer = fake.chat("x [[busy=1]]", stream=True)
    assert status == 503
    assert answer["error"]["code"] == "server_is_overloaded"
    assert int(head["retry-after"]) >= 1
    assert int(head["retry-after-ms"]) == 1000 * int(head["retry-after"])
    assert head["x-should-retry"] == "true"


def test_keep_alive_while_waiting(launch):
    server = launch("--ping", "1")
    with server.connect() as sock:
        sock.sendall(servers.chat_bytes(ask("x [[tokens=2 prefill_ms=2700]]", stream=True)))
        data = servers.read_until(sock, b"[DONE]")
    assert data.count(b": keep-alive\n\n") == 2, data
    assert data.index(b"200 OK") < data.index(b'"role":"assistant"') < data.index(b": keep-alive")


def test_long_whole_answer(fake):
    answer = fake.chat("x [[tokens=3000 delay_ms=0]]", max_tokens=3000)[2]
    assert answer["usage"]["completion_tokens"] == 3000


def test_json_text_is_escaped(fake):
    got = servers.events(fake.request("POST", "/v1/chat/completions",
                                      ask("x [[tokens=32]]", stream=True))[2])
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in got[:-1])
    assert '"yes"' in text and "\n\n" in text and "🌊" in text and "<b>" in text
    assert json.dumps(text)
