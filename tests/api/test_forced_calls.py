"""A call that must be made, by the real model: its words are the grammar's, everything else is real."""

import json

import pytest

from test_tools import CLOCK, TOOLS, WEATHER, join, whole

BOOK = {"type": "function", "function": {
    "name": "book", "strict": True, "parameters": {
        "type": "object", "$defs": {"day": {"enum": ["mon", "tue"]}},
        "properties": {"day": {"$ref": "#/$defs/day"}, "people": {"type": "integer", "minimum": 1,
                                                                 "maximum": 9}},
        "required": ["day", "people"], "additionalProperties": False}}}
ASK = [{"role": "user", "content": "What is the weather in Bern?"}]


def is_weather(a):
    return isinstance(a["city"], str) and isinstance(a.get("days", 1), int)


def is_booking(a):
    return set(a) == {"day", "people"} and a["day"] in ("mon", "tue") and 1 <= a["people"] <= 9


GOOD = {"get_weather": is_weather, "get_time": lambda a: isinstance(a, dict), "book": is_booking}


def check(calls, tools):
    (_, name, arguments), = calls
    assert name in [t["function"]["name"] for t in tools]
    assert GOOD[name](json.loads(arguments)), arguments
    return name


@pytest.mark.parametrize("seed", range(3))
def test_required(real_client, seed):
    ask = dict(model="default", messages=ASK, tools=TOOLS + [BOOK], tool_choice="required",
               seed=seed, max_tokens=200)
    got = whole(real_client.chat.completions.create(**ask))
    check(got[2], TOOLS + [BOOK])
    assert got[0] is None and got[3] == "tool_calls"
    assert join(real_client.chat.completions.create(**ask, stream=True))[:4] == got[:4]


@pytest.mark.parametrize("tool", [WEATHER, CLOCK, BOOK])
def test_named(real_client, tool):
    name = tool["function"]["name"]
    ask = dict(model="default", messages=ASK, tools=TOOLS + [BOOK], seed=1, max_tokens=200,
               tool_choice={"type": "function", "function": {"name": name}})
    got = whole(real_client.chat.completions.create(**ask))
    assert check(got[2], [tool]) == name
    assert join(real_client.chat.completions.create(**ask, stream=True))[2] == got[2]


def test_allowed_and_required(real_client):
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
        {"type": "function", "function": {"name": "book"}}]}}
    got = whole(real_client.chat.completions.create(
        model="default", messages=ASK, tools=TOOLS + [BOOK], tool_choice=choice, max_tokens=200))
    assert check(got[2], [BOOK]) == "book"


def test_agent_loop(real_client):
    """Forced call, the result goes back, the model answers in words: all of it really generated."""
    messages = list(ASK)
    answer = real_client.chat.completions.create(
        model="default", messages=messages, tools=[WEATHER], tool_choice="required", seed=5,
        max_tokens=200)
    message = answer.choices[0].message
    messages.append(message)
    messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id,
                     "content": "Rain, 8 degrees."})
    answer = real_client.chat.completions.create(model="default", messages=messages,
                                                 tools=[WEATHER], seed=5, max_tokens=40)
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
    assert answer.usage.prompt_tokens > 100  # the tools, the call and its result


@pytest.fixture(scope="module")
def opening(real):
    """Bias that makes the model begin a call by itself: its words for the opening marker."""
    ids = real.post("/tokenize", {"content": "<tool_call>"})[2]["tokens"]
    return {str(i): 60 for i in ids}


@pytest.mark.parametrize("seed", range(3))
def test_strict_call_by_choice(real_client, opening, seed):
    """tool_choice auto: behind the opening, arguments of a strict function keep to its schema."""
    ask = dict(model="default", messages=ASK, tools=[BOOK], seed=seed, max_tokens=120,
               temperature=1.2, logit_bias=opening)
    got = whole(real_client.chat.completions.create(**ask))
    assert got[2] and got[3] == "tool_calls"
    for _, name, arguments in got[2]:
        assert name == "book" and is_booking(json.loads(arguments)), arguments
    streamed = join(real_client.chat.completions.create(**ask, stream=True))
    assert streamed[2:4] == got[2:4] and (streamed[0] or None) == got[0]


def test_one_strict_function_of_two(real_client, opening):
    """Those that are not strict may have any arguments, but no function that is not there is called."""
    for seed in range(3):
        got = whole(real_client.chat.completions.create(
            model="default", messages=ASK, tools=[WEATHER, BOOK], seed=seed, max_tokens=100,
            logit_bias=opening, temperature=1))
        for _, name, arguments in got[2]:
            assert name in ("get_weather", "book")
            assert isinstance(json.loads(arguments), dict)
            assert name != "book" or is_booking(json.loads(arguments))


def test_strict_schema_that_is_refused(real):
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {
        "type": "object", "dependentSchemas": {"a": {}}}}}
    status, _, answer = real.post("/v1/chat/completions", dict(messages=ASK, tools=[tool]))
    assert status == 400 and answer["error"]["param"] == "tools"


def test_no_room(real):
    status, _, answer = real.post("/v1/chat/completions", dict(
        messages=ASK, tools=[BOOK], tool_choice="required", max_tokens=5))
    assert status == 400 and answer["error"]["param"] == "max_tokens"


def test_schema_that_is_refused(real):
    tool = {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "dependentSchemas": {"a": {}}}}}
    status, _, answer = real.post("/v1/chat/completions", dict(
        messages=ASK, tools=[tool], tool_choice="required"))
    assert status == 400 and answer["error"]["param"] == "tools"
