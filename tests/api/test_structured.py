"""Constrained output over HTTP with the real model: every spelling, streamed and whole, budgets, errors
before the stream starts, openai's parse(), and the same bytes in company."""

import json
import re
import typing

import openai
import pydantic
import pytest

ASK = [{"role": "user", "content": "Describe a person."}]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                           "age": {"type": "integer", "minimum": 0,
                                                   "maximum": 150},
                                           "tags": {"type": "array", "maxItems": 3,
                                                    "items": {"enum": ["a", "b", "c"]}}},
          "required": ["name", "age", "tags"], "additionalProperties": False}


@pytest.fixture(scope="module")
def say(real):
    def post(status=200, **fields):
        answer = real.post("/v1/chat/completions", {
            "messages": ASK, "max_tokens": 60, "temperature": 1, "seed": 5, **fields})
        assert answer[0] == status, answer
        return answer[2]
    return post


def content(answer):
    assert answer["choices"][0]["finish_reason"] == "stop"
    return answer["choices"][0]["message"]["content"]


def is_person(text):
    value = json.loads(text)
    assert list(value) == ["name", "age", "tags"] and len(value["name"]) <= 20
    assert 0 <= value["age"] <= 150 and set(value["tags"]) <= set("abc")
    return value


@pytest.mark.parametrize("fields", [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON,
                                                                "strict": True}}},
    {"response_format": {"type": "json_object", "schema": PERSON}},
    {"guided_json": PERSON}, {"guided_json": json.dumps(PERSON)}, {"json_schema": PERSON},
    {"structured_outputs": {"json": PERSON}},
])
def test_schema_spellings(say, fields):
    for seed in range(3):
        is_person(content(say(seed=seed, **fields)))


def test_other_kinds(say):
    assert isinstance(json.loads(content(say(response_format={"type": "json_object"}))), dict)
    assert isinstance(json.loads(content(say(structured_outputs={"json_object": True}))), dict)
    for fields in ({"guided_choice": ["left", "right"]},
                   {"structured_outputs": {"choice": ["left", "right"]}}):
        assert content(say(**fields)) in ("left", "right")
    for fields in ({"guided_regex": r"[a-c]{3}-\d+"}, {"structured_outputs": {"regex": r"[a-c]{3}-\d+"}}):
        assert re.fullmatch(r"[a-c]{3}-[0-9]+", content(say(**fields)))
    rules = 'root ::= "(" root ")" | "x"'
    for fields in ({"grammar": rules}, {"guided_grammar": rules},
                   {"structured_outputs": {"grammar": rules}}):
        text = content(say(**fields))
        depth = text.index("x")
        assert text == "(" * depth + "x" + ")" * depth
    assert say(response_format={"type": "text"}, max_tokens=3)["choices"][0]["message"]["content"]


def test_budget(real, say):
    """At the shortest length the document is whole, one token below there is a 400 that tells it."""
    schema = {"type": "object", "properties": {"first": {"type": "string"},
                                               "second": {"type": "array", "minItems": 2}},
              "required": ["first", "second"]}
    status, _, body = real.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 1,
                                                         "guided_json": schema})
    assert status == 400 and body["error"]["param"] == "max_tokens"
    needed = int(re.search(r"needs (\d+) tokens", body["error"]["message"]).group(1))
    for extra in (0, 1, 2, 10):
        for seed in range(3):
            answer = say(guided_json=schema, max_tokens=needed + extra, seed=seed)
            value = json.loads(content(answer))
            assert len(value["second"]) >= 2 and isinstance(value["first"], str)
            assert answer["usage"]["completion_tokens"] <= needed + extra
    say(400, guided_json=schema, max_tokens=needed - 1)


def test_streamed_is_whole_and_repeatable(real, say):
    fields = {"guided_json": PERSON, "n": 3, "logprobs": True, "top_logprobs": 2}
    whole = say(**fields)
    again = say(**fields)
    assert [c["message"] for c in whole["choices"]] == [c["message"] for c in again["choices"]]
    parts = ["", "", ""]
    client = openai.OpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0)
    for chunk in client.chat.completions.create(
            model="default", messages=ASK, max_tokens=60, temperature=1, seed=5, n=3, stream=True,
            logprobs=True, top_logprobs=2, extra_body={"guided_json": PERSON}):
        for choice in chunk.choices:
            parts[choice.index] += choice.delta.content or ""
    assert parts == [c["message"]["content"] for c in whole["choices"]]
    for choice in whole["choices"]:
        is_person(choice["message"]["content"])
        tokens = choice["logprobs"]["content"]
        assert "".join(t["token"] for t in tokens) == choice["message"]["content"]
        # Of the raw distribution: the best alternative need not be allowed.
        assert all(t["logprob"] <= t["top_logprobs"][0]["logprob"] + 1e-6 for t in tokens)


@pytest.mark.parametrize("fields,param,text", [
    ({"guided_regex": "(a"}, "guided_regex", "without )"),
    ({"guided_regex": "(?=a)"}, "guided_regex", "lookaround"),
    ({"grammar": "root ::= x"}, "grammar", "'x' is not defined"),
    ({"guided_json": "{"}, "guided_json", "not JSON"),
    ({"guided_json": {"type": "array", "uniqueItems": True}}, "guided_json", "#/uniqueItems"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
        "properties": {"a": {"if": {}, "contains": {"const": 1}}}}}}}, "response_format",
     "#/properties/a/contains"),
    ({"guided_json": {"type": "string", "minLength": 5, "maxLength": 4}}, "guided_json", "nothing"),
    ({"guided_choice": ["a"], "ignore_eos": True}, "ignore_eos", "exclude"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_errors_before_the_stream(real, fields, param, text, stream):
    status, headers, body = real.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 20,
                                                               "stream": stream, **fields})
    assert status == 400, body
    assert body["error"]["param"] == param and text in body["error"]["message"]
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_bans_that_leave_nothing(real):
    choice = real.post("/tokenize", {"content": "yes", "add_special": False})[2]["tokens"]
    bias = {str(t): -100 for t in choice}
    for letter in ("y", "ye"):
        bias.update({str(t): -100 for t in real.post(
            "/tokenize", {"content": letter, "add_special": False})[2]["tokens"]})
    status, _, body = real.post("/v1/chat/completions", {
        "messages": ASK, "max_tokens": 5, "guided_choice": ["yes"], "logit_bias": bias})
    assert status >= 400 and "bans" in body["error"]["message"]


def test_completions(real):
    status, _, answer = real.post("/v1/completions", {
        "prompt": "The answer is", "max_tokens": 30, "guided_json": {"type": "array", "minItems": 1,
                                                                    "items": {"type": "boolean"}}})
    assert status == 200, answer
    assert all(isinstance(x, bool) for x in json.loads(answer["choices"][0]["text"]))


def test_openai_parse(real):
    class Step(pydantic.BaseModel):
        explanation: str
        output: typing.Optional[int]

    class Reasoning(pydantic.BaseModel):
        steps: list[Step]
        kind: typing.Literal["easy", "hard"]
        score: float

    client = openai.OpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0)
    for seed in range(3):
        answer = client.chat.completions.parse(model="default", messages=ASK, max_tokens=80,
                                               temperature=1, seed=seed,
                                               response_format=Reasoning)
        assert isinstance(answer.choices[0].message.parsed, Reasoning)
