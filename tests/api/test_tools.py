"""Tool calls and reasoning as clients see them: the text of a model is scripted (fake_reply.h), the
parser of replies is the engine's own, and the server writes OpenAI's shapes from its events."""

import json
import urllib.parse

import pytest

import servers

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
TOOLS = [WEATHER, CLOCK]

THOUGHT = "<think>\nThey want\nthe weather.\n</think>\n\n"
TWO_CALLS = (THOUGHT + "Let me look.\n<tool_call>\n"
             '{"name": "get_weather", "arguments": {"city": "Zürich \\"ZH\\" 🌊", "days": 2}}\n'
             "</tool_call>\n<tool_call>\n"
             '{"name": "get_time", "arguments": {}}\n</tool_call>')


def script(text, then=None, **keys):
    quote = urllib.parse.quote
    parts = [f"say={quote(text, safe='')}"]
    if then:
        parts.append(f"then={quote(then, safe='')}")
    return "[[" + " ".join(parts + [f"{k}={v}" for k, v in keys.items()]) + "]]"


def user(text, **keys):
    return [{"role": "user", "content": "x " + script(text, **keys)}]


def join(chunks):
    """The whole message that the SDK's chunks add up to, with OpenAI's rules of streaming checked."""
    content, reasoning, calls, finish, usage = None, None, [], None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert finish is None, "a chunk behind the one that finishes"
            delta = choice.delta
            if delta.content is not None:
                content = (content or "") + delta.content
            thought = getattr(delta, "reasoning_content", None)
            assert thought == getattr(delta, "reasoning", None)
            if thought is not None:
                reasoning = (reasoning or "") + thought
            for call in delta.tool_calls or []:
                if call.id is not None:
                    assert call.index == len(calls)
                    assert call.type == "function" and call.function.arguments == ""
                    calls.append([call.id, call.function.name, ""])
                else:
                    assert call.index == len(calls) - 1
                    assert call.function.name is None and call.type is None
                    calls[-1][2] += call.function.arguments
            finish = choice.finish_reason or finish
    return content, reasoning, calls, finish, usage


def whole(answer):
    message = answer.choices[0].message
    return (message.content, getattr(message, "reasoning_content", None),
            [[c.id, c.function.name, c.function.arguments] for c in message.tool_calls or []],
            answer.choices[0].finish_reason, answer.usage)


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_calls(client, piece):
    ask = dict(model="default", messages=user(TWO_CALLS, piece=piece), tools=TOOLS, seed=7)
    got = whole(client.chat.completions.create(**ask))
    content, reasoning, calls, finish, usage = got
    assert content == "Let me look."
    assert reasoning == "They want\nthe weather."
    assert finish == "tool_calls"
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == [
        ("get_weather", {"city": 'Zürich "ZH" 🌊', "days": 2}), ("get_time", {})]
    assert len({id_ for id_, _, _ in calls}) == 2
    assert all(id_.startswith("call_") for id_, _, _ in calls)
    tokens = usage.completion_tokens_details.reasoning_tokens
    assert 0 < tokens < usage.completion_tokens or piece == 1000
    # The stream adds up to the same, ids and usage included.
    stream = client.chat.completions.create(**ask, stream=True,
                                            stream_options={"include_usage": True})
    assert join(stream)[:4] == got[:4]
    stream = client.chat.completions.create(**ask, stream=True,
                                            stream_options={"include_usage": True})
    assert join(stream)[4] == usage


def test_raw_shapes(fake):
    body = dict(messages=user('<tool_call>{"name": "get_time", "arguments": {"a": 1}}</tool_call>',
                              piece=1000), tools=TOOLS)
    answer = fake.post("/v1/chat/completions", body)[2]
    choice = answer["choices"][0]
    assert choice["message"]["content"] is None
    assert "reasoning_content" not in choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    call, = choice["message"]["tool_calls"]
    assert set(call) == {"id", "type", "function"} and call["type"] == "function"
    assert call["function"] == {"name": "get_time", "arguments": '{"a": 1}'}
    got = servers.events(fake.request("POST", "/v1/chat/completions", {**body, "stream": True})[2])
    deltas = [e["choices"][0]["delta"] for e in got[:-1]]
    assert deltas[0] == {"role": "assistant", "content": None}
    assert set(deltas[1]["tool_calls"][0]) == {"index", "id", "type", "function"}
    assert deltas[1]["tool_calls"][0]["function"] == {"name": "get_time", "arguments": ""}
    assert deltas[2] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}
    assert deltas[-1] == {} and got[-1] == "[DONE]"


def test_ids_are_a_function_of_the_request(fake):
    def ids(**fields):
        body = dict(messages=user(TWO_CALLS), tools=TOOLS, seed=3, **fields)
        answer = fake.post("/v1/chat/completions", body)[2]
        return [[c["id"] for c in choice["message"]["tool_calls"]] for choice in answer["choices"]]

    assert ids(n=2) == ids(n=2)
    first, second = ids(n=2)
    assert len({*first, *second}) == 4
    assert first == ids()[0]
    longer = fake.post("/v1/chat/completions", dict(
        messages=user(TWO_CALLS) + [{"role": "assistant", "content": "x" * 64}], tools=TOOLS,
        seed=3))[2]
    assert longer["choices"][0]["message"]["tool_calls"][0]["id"] not in first


def test_one_call(client):
    ask = dict(model="default", messages=user(TWO_CALLS, piece=5), tools=TOOLS,
               parallel_tool_calls=False)
    content, _, calls, finish, usage = whole(client.chat.completions.create(**ask))
    assert (content, len(calls), finish) == ("Let me look.", 1, "tool_calls")
    assert json.loads(calls[0][2])["days"] == 2
    all_tokens = client.chat.completions.create(
        **{**ask, "parallel_tool_calls": True}).usage.completion_tokens
    assert usage.completion_tokens < all_tokens  # the rest was not made
    assert join(client.chat.completions.create(**ask, stream=True))[2][0][2] == calls[0][2]


def test_no_tools(client, fake):
    """Without tools, or with tool_choice none, a call is text; thoughts stay apart."""
    for fields in {}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}:
        answer = client.chat.completions.create(model="default", messages=user(TWO_CALLS), **fields)
        message = answer.choices[0].message
        assert message.tool_calls is None
        assert message.content == TWO_CALLS.partition("\n\n")[2]
        assert message.reasoning_content == "They want\nthe weather."
        assert answer.choices[0].finish_reason == "stop"
    assert "x-ignored-params" not in fake.post("/v1/chat/completions", dict(
        messages=user("a"), tools=TOOLS, tool_choice="none"))[1]


def test_allowed_tools(fake):
    """Only the allowed ones are there: a bare object that names another one is text."""
    text = '{"name": "get_time", "arguments": {"a": 1}}'
    for names, is_call in (["get_time"], True), (["get_weather"], False), ([], False):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
            {"type": "function", "function": {"name": name}} for name in names]}}
        answer = fake.post("/v1/chat/completions",
                           dict(messages=user(text), tools=TOOLS, tool_choice=choice))[2]
        message = answer["choices"][0]["message"]
        assert ("tool_calls" in message) == is_call
        assert message["content"] == (None if is_call else text)


def test_cut_off(client):
    """By max_tokens inside the arguments: the reason is the length, the arguments are what came."""
    ask = dict(model="default", messages=user(TWO_CALLS, piece=4), tools=TOOLS, max_tokens=35)
    _, _, calls, finish, usage = whole(client.chat.completions.create(**ask))
    assert finish == "length" and usage.completion_tokens == 35
    arguments = calls[0][2]
    assert arguments and '{"city": "Zürich \\"ZH\\" 🌊", "days": 2}'.startswith(arguments)
    with pytest.raises(json.JSONDecodeError):
        json.loads(arguments)
    assert join(client.chat.completions.create(**ask, stream=True))[2][0][2] == arguments


@pytest.mark.parametrize("form, text", [
    ("qwen-xml", "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n"
     "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>"),
    ("llama3", '{"name": "get_weather", "parameters": {"city": "Bern", "days": 2}}'),
    ("deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
     '{"city": "Bern", "days": 2}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
    ("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": "Bern", "days": 2}'),
    ("harmony", "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
     '{"city": "Bern", "days": 2}<|call|>')])
def test_formats(client, form, text):
    ask = dict(model="default", messages=user(text, format=form), tools=TOOLS, seed=1)
    got = whole(client.chat.completions.create(**ask))
    (_, name, arguments), = got[2]
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Bern", "days": 2})
    assert got[3] == "tool_calls" and got[0] is None
    assert join(client.chat.completions.create(**ask, stream=True))[:4] == got[:4]


def test_id_of_the_model(client):
    text = ("<|tool_calls_section_begin|><|tool_call_begin|>functions.get_time:0"
            "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>")
    ask = dict(model="default", messages=user(text, format="kimi-k2"), tools=TOOLS)
    assert whole(client.chat.completions.create(**ask))[2] == [
        ["functions.get_time:0", "get_time", "{}"]]
    assert join(client.chat.completions.create(**ask, stream=True))[2] == [
        ["functions.get_time:0", "get_time", "{}"]]


def test_agent_loop(client):
    """The model calls, the client answers, the model uses the result; thought and calls go back."""
    text = script(THOUGHT + '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}'
                  "</tool_call>", then=THOUGHT + "It rains in Bern.")
    for stream in False, True:
        messages = [{"role": "user", "content": "Weather in Bern? " + text}]
        for turn in range(3):
            ask = dict(model="default", messages=messages, tools=TOOLS)
            if stream:
                got = join(client.chat.completions.create(**ask, stream=True))
            else:
                got = whole(client.chat.completions.create(**ask))
            content, reasoning, calls, finish, _ = got
            message = {"role": "assistant", "content": content, "reasoning_content": reasoning}
            if not calls:
                break
            assert finish == "tool_calls"
            message["tool_calls"] = [{"id": id_, "type": "function", "function": {
                "name": name, "arguments": arguments}} for id_, name, arguments in calls]
            messages.append(message)
            for id_, name, arguments in calls:
                assert name == "get_weather" and json.loads(arguments) == {"city": "Bern"}
                messages.append({"role": "tool", "tool_call_id": id_, "content": '{"sky": "rain"}'})
        assert (turn, finish, content) == (1, "stop", "It rains in Bern.")
        assert reasoning == "They want\nthe weather."


def test_reasoning(client, fake):
    ask = dict(model="default", messages=user("hm\n</think>\n\nSo 4.", thinking=1, piece=2))
    content, reasoning, calls, finish, usage = whole(client.chat.completions.create(**ask))
    assert (content, reasoning, calls, finish) == ("So 4.", "hm", [], "stop")
    assert usage.completion_tokens_details.reasoning_tokens == 6
    message = fake.post("/v1/chat/completions", ask)[2]["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "hm"
    assert join(client.chat.completions.create(**ask, stream=True))[:4] == (content, reasoning, [],
                                                                            finish)


def test_log_probabilities(client):
    """Every token of the answer is in the list once, whatever part it belongs to."""
    ask = dict(model="default", messages=user(TWO_CALLS, piece=4), tools=TOOLS, logprobs=True)
    answer = client.chat.completions.create(**ask)
    text = b"".join(bytes(t.bytes) for t in answer.choices[0].logprobs.content).decode()
    assert text == TWO_CALLS
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens
    streamed = []
    for chunk in client.chat.completions.create(**ask, stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert streamed == answer.choices[0].logprobs.content


@pytest.mark.parametrize("fields", [
    {"reasoning_effort": "none"}, {"reasoning_effort": "high"}, {"thinking": {"type": "disabled"}},
    {"reasoning": {"effort": "low", "summary": None}}, {"reasoning": {"enabled": False}},
    {"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {}, "reasoning_effort": "max"}])
def test_reasoning_fields_are_honoured(fake, fields):
    status, head, _ = fake.chat("x [[tokens=1]]", **fields)
    assert status == 200
    assert "x-ignored-params" not in head


def test_parallel_calls_by_default(fake):
    assert fake.post("/v1/chat/completions", dict(
        messages=user(TWO_CALLS), tools=TOOLS, parallel_tool_calls=None))[2]["choices"][0][
            "message"]["tool_calls"][1]["function"]["name"] == "get_time"


def test_a_model_without_tools_is_told_of_them(real, real_client):
    """SmolLM2's template knows no tools: they are described in the prompt, results come as text."""
    messages = [{"role": "user", "content": "Weather in Bern?"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {
                        "name": "get_weather", "arguments": '{"city": "Bern", "days": 1.0}'}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "Rain."}]
    prompt = real.post("/apply-template", {"messages": messages, "tools": TOOLS})[2]["prompt"]
    assert '"name": "get_weather"' in prompt and "# Tools" in prompt
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern", "days": 1.0}}' in prompt
    assert "<tool_response>\nRain.\n</tool_response>" in prompt
    ask = dict(model="default", messages=messages, tools=TOOLS, seed=2, max_tokens=30)
    got = whole(real_client.chat.completions.create(**ask))
    assert got[3] in ("stop", "length", "tool_calls")
    streamed = join(real_client.chat.completions.create(**ask, stream=True))
    assert (streamed[0] or "", *streamed[1:4]) == (got[0] or "", *got[1:4])
