"""Every malformed request gets its 4xx in OpenAI's shape, also when a stream was asked for."""

import json

import openai
import pytest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
OK = {"messages": [{"role": "user", "content": "x [[tokens=1]]"}]}
PROMPT = {"prompt": "x [[tokens=1]]"}


def chat(**fields):
    return {**OK, **fields}


def said(*contents):
    return {"messages": list(contents)}


TOOL = {"type": "function", "function": {"name": "f"}}


def allowed(mode, *names):
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [
        {"type": "function", "function": {"name": name}} for name in names]}}


CASES = [
    # body, param
    (said(), "messages"),
    ({}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": {}}, "messages"),
    (said(123), "messages[0]"),
    (said(None), "messages[0]"),
    (said({}), "messages[0].role"),
    (said({"role": 1, "content": "x"}), "messages[0].role"),
    (said({"role": "wizard", "content": "x"}), "messages[0].role"),
    (said({"role": "function", "content": "x"}), "messages[0].role"),
    (said({"role": "user"}), "messages[0].content"),
    (said({"role": "user", "content": None}), "messages[0].content"),
    (said({"role": "user", "content": 5}), "messages[0].content"),
    (said({"role": "user", "content": {}}), "messages[0].content"),
    (said({"role": "user", "content": []}), "messages[0].content"),
    (said({"role": "user", "content": ["x"]}), "messages[0].content[0]"),
    (said({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0]"),
    (said({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {
        "url": "file:///etc/passwd"}}]}), "messages[0].content[1]"),
    (said({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
     "messages[0].content[0]"),
    (said({"role": "assistant", "content": None}), "messages[0].content"),
    (said({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
    (said({"role": "user", "content": "x", "tool_calls": [{}]}), "messages[0].tool_calls"),
    (said({"role": "assistant", "content": None, "tool_calls": [{}]}), "messages[0].tool_calls[0]"),
    (said({"role": "assistant", "content": None, "tool_calls": "x"}), "messages[0].tool_calls"),
    (chat(model=5), "model"),
    (chat(stream="yes"), "stream"),
    (chat(stream=1), "stream"),
    (chat(n=0), "n"),
    (chat(n=33), "n"),
    (chat(n=1000000), "n"),
    (chat(n=1.5), "n"),
    (chat(n="1"), "n"),
    (chat(max_tokens=0), "max_tokens"),
    (chat(max_tokens=-1), "max_tokens"),
    (chat(max_tokens=2**31), "max_tokens"),
    (chat(max_completion_tokens=0), "max_completion_tokens"),
    (chat(temperature=-0.1), "temperature"),
    (chat(temperature=2.1), "temperature"),
    (chat(temperature="hot"), "temperature"),
    (chat(temperature=[1]), "temperature"),
    (chat(top_p=1.1), "top_p"),
    (chat(top_p=-1), "top_p"),
    (chat(top_k=-2), "top_k"),
    (chat(top_k=0.5), "top_k"),
    (chat(min_p=2), "min_p"),
    (chat(presence_penalty=2.5), "presence_penalty"),
    (chat(frequency_penalty=-2.5), "frequency_penalty"),
    (chat(repetition_penalty=0), "repetition_penalty"),
    (chat(repetition_penalty=101), "repetition_penalty"),
    (chat(seed=1.5), "seed"),
    (chat(seed="7"), "seed"),
    (chat(seed=2**63), "seed"),
    (chat(stop=5), "stop"),
    (chat(stop=[5]), "stop"),
    (chat(stop=""), "stop"),
    (chat(stop=["ok", ""]), "stop"),
    (chat(stop=["x"] * 17), "stop"),
    (chat(stop="x" * 257), "stop"),
    (chat(logit_bias=[5]), "logit_bias"),
    (chat(logit_bias=[[5]]), "logit_bias"),
    (chat(logit_bias=[[5, 1, 2]]), "logit_bias"),
    (chat(logit_bias=[[5, True]]), "logit_bias"),
    (chat(logit_bias=[["", 1]]), "logit_bias"),
    (chat(logit_bias=[["x" * 257, 1]]), "logit_bias"),
    (chat(logit_bias=[[-1, 1]]), "logit_bias"),
    (chat(logit_bias={"5": False}), "logit_bias"),
    (chat(logit_bias={"a": 1}), "logit_bias"),
    (chat(logit_bias={"-1": 1}), "logit_bias"),
    (chat(logit_bias={"1.0": 1}), "logit_bias"),
    (chat(logit_bias={"99999999999": 1}), "logit_bias"),
    (chat(logit_bias={"5": 101}), "logit_bias"),
    (chat(logit_bias={"5": "x"}), "logit_bias"),
    (chat(logit_bias={str(i): 1 for i in range(1025)}), "logit_bias"),
    (chat(logprobs=3), "logprobs"),
    (chat(top_logprobs=3), "top_logprobs"),
    (chat(logprobs=False, top_logprobs=3), "top_logprobs"),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    (chat(logprobs=True, top_logprobs=-1), "top_logprobs"),
    (chat(stream_options={"include_usage": True}), "stream_options"),
    (chat(stream=False, stream_options={}), "stream_options"),
    (chat(stream=True, stream_options=[]), "stream_options"),
    (chat(stream=True, stream_options={"include_usage": "x"}), "stream_options.include_usage"),
    (chat(stream=True, stream_options={"continuous_usage_stats": 1}),
     "stream_options.continuous_usage_stats"),
    (chat(response_format={"type": "sound"}), "response_format"),
    (chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": 123}}),
     "response_format"),
    (chat(response_format="json"), "response_format"),
    (chat(tools=[TOOL], tool_choice="sometimes"), "tool_choice"),
    (chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice"),
    (chat(tools=[TOOL], tool_choice={"type": "magic"}), "tool_choice"),
    (chat(tools=[TOOL], tool_choice=allowed("auto", "g")), "tool_choice.allowed_tools.tools"),
    (chat(tools=[TOOL], tool_choice=allowed("sometimes", "f")), "tool_choice"),
    (chat(tools=[TOOL], tool_choice=allowed("required")), "tool_choice.allowed_tools.tools"),
    (chat(tools=[TOOL], tool_choice="required", response_format={"type": "json_object"}),
     "tool_choice"),
    (chat(tool_choice="required"), "tool_choice"),
    (chat(tool_choice={"type": "function", "function": {"name": "f"}}), "tool_choice"),
    (chat(tools=[{"type": "web_search"}]), "tools[0]"),
    (chat(tools=[1], tool_choice="none"), "tools[0]"),
    (chat(tools=[TOOL, {"type": "function", "function": {}}]), "tools[1].function.name"),
    (chat(tools=[{"type": "function", "function": {"name": "two words"}}]), "tools[0].function.name"),
    (chat(tools=[{"type": "function", "function": {"name": "x" * 129}}]), "tools[0].function.name"),
    (chat(tools=[TOOL, TOOL]), "tools[1].function.name"),
    (chat(tools=[{"type": "function", "function": {"name": "f", "parameters": []}}]),
     "tools[0].function.parameters"),
    (chat(tools=[{"type": "function", "function": {"name": "f", "description": 1}}]),
     "tools[0].function.description"),
    (chat(tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(129)]), "tools"),
    (chat(parallel_tool_calls=1), "parallel_tool_calls"),
    (chat(reasoning_effort="extreme"), "reasoning_effort"),
    (chat(reasoning={"effort": "extreme"}), "reasoning.effort"),
    (chat(reasoning={"exclude": True}), "reasoning.exclude"),
    (chat(reasoning={"enabled": 1}), "reasoning.enabled"),
    (chat(thinking={"type": "maybe"}), "thinking.type"),
    (chat(thinking={}), "thinking.type"),
    (chat(enable_thinking="yes"), "enable_thinking"),
    (chat(thinking_token_budget=-1), "thinking_token_budget"),
    (chat(reasoning_budget=-2), "reasoning_budget"),
    (chat(thinking={"type": "enabled", "budget_tokens": -1}), "thinking.budget_tokens"),
    (chat(reasoning={"max_tokens": 1.5}), "reasoning.max_tokens"),
    (said({"role": "assistant", "content": "x", "reasoning_content": 1}),
     "messages[0].reasoning_content"),
    (said({"role": "user"}), "messages[0].content"),
    (chat(tools={}), "tools"),
    (chat(functions=[{"name": "f"}]), "functions"),
    (chat(function_call={"name": "f"}), "function_call"),
    (chat(modalities=["text", "audio"]), "modalities"),
    (chat(audio={"voice": "x"}), "audio"),
    (chat(prediction={"type": "content", "content": "x"}), "prediction"),
    (chat(web_search_options={}), "web_search_options"),
    (chat(verbosity="low"), "verbosity"),
    (chat(min_tokens=-1), "min_tokens"),
    (chat(stop_token_ids=["a"]), "stop_token_ids"),
    (chat(stop_token_ids=[-1]), "stop_token_ids"),
    (chat(stop_token_ids=[1] * 65), "stop_token_ids"),
    (chat(bad_words=[""]), "bad_words"),
    (chat(bad_words=["x" * 257]), "bad_words"),
    (chat(bad_words=["x"] * 129), "bad_words"),
    (chat(allowed_token_ids=[]), "allowed_token_ids"),
    (chat(allowed_token_ids=[1.5]), "allowed_token_ids"),
    (chat(dry_sequence_breakers=[5]), "dry_sequence_breakers"),
    (chat(dry_sequence_breakers=["x"] * 33), "dry_sequence_breakers"),
    (chat(dry_base=0.5), "dry_base"),
    (chat(repeat_last_n=-2), "repeat_last_n"),
    (chat(repeat_penalty=1.2, repetition_penalty=1.3), "repeat_penalty"),
    (chat(typical_p=1.1), "typical_p"),
    (chat(xtc_probability=-0.1), "xtc_probability"),
    (chat(cache_salt=5), "cache_salt"),
    (chat(stream=True, prompt_logprobs=1), "prompt_logprobs"),
    (chat(prompt_logprobs=21), "prompt_logprobs"),
    (chat(echo=True), "echo"),
    (chat(continue_final_message=True), "messages"),
    (said({"role": "assistant", "content": "a", "prefix": True}, {"role": "user", "content": "x"}),
     "messages[0].prefix"),
    (said({"role": "user", "content": "a", "prefix": True}), "messages"),
    (said({"role": "assistant", "content": "a", "prefix": 1}), "messages[0].prefix"),
    (chat(response_format={"type": "json_schema"}), "response_format"),
    (chat(response_format={}), "response_format"),
    (chat(response_format={"type": "json_object", "schema": 1}), "response_format"),
    (chat(guided_json=[]), "guided_json"),
    (chat(guided_choice=[]), "guided_choice"),
    (chat(guided_choice=["a", 1]), "guided_choice"),
    (chat(guided_regex=1), "guided_regex"),
    (chat(structured_outputs={"json": 1}), "structured_outputs"),
    (chat(structured_outputs={"structural_tag": {}}), "structured_outputs"),
    (chat(structured_outputs={"regex": "a", "choice": ["a"]}), "structured_outputs"),
    (chat(response_format={"type": "json_object"}, grammar="root ::= x"), "grammar"),
    (chat(grammar=5), "grammar"),
    (chat(mirostat=2), "mirostat"),
    (chat(best_of=2), "best_of"),
    (chat(user=5), "user"),
    (chat(metadata="x"), "metadata"),
    (chat(store="x"), "store"),
    (chat(chat_template_kwargs=5), "chat_template_kwargs"),
    (chat(chat_template_kwargs={"messages": []}), "chat_template_kwargs"),
    (chat(ignore_eos=1), "ignore_eos"),
    (chat(speculation=0), "speculation"),
    (chat(return_token_ids="x"), "return_token_ids"),
]

COMPLETION_CASES = [
    ({}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 5]}, "prompt"),
    ({"prompt": ["a", [5]]}, "prompt"),
    ({"prompt": [[1], "a"]}, "prompt"),
    ({"prompt": [[1], []]}, "prompt"),
    ({"prompt": [[1], [-1]]}, "prompt[1]"),
    ({"prompt": ["a"] * 129}, "prompt"),
    ({"prompt": ["a"] * 33, "n": 8}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"),
    ({"prompt": [2**31]}, "prompt"),
    ({**PROMPT, "logprobs": 21}, "logprobs"),
    ({**PROMPT, "logprobs": True}, "logprobs"),
    ({**PROMPT, "echo": 1}, "echo"),
    ({**PROMPT, "suffix": 5}, "suffix"),
    ({**PROMPT, "suffix": "x", "echo": True}, "suffix"),
    ({**PROMPT, "best_of": 2}, "best_of"),
    ({**PROMPT, "max_tokens": -1}, "max_tokens"),
]


def check(answer, status=400):
    error = answer["error"]
    assert set(answer) == {"error"}
    assert set(error) >= {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["type"] in ("invalid_request_error",) if status < 500 else True
    return error


@pytest.mark.parametrize("body,param", CASES, ids=lambda v: str(v)[:60])
def test_chat_case(fake, body, param):
    for extra in ({}, {"stream": True}):
        if "stream" in body or "stream_options" in body:
            extra = {}
        status, head, answer = fake.post(CHAT, {**body, **extra})
        assert status == 400, answer
        assert head["content-type"] == "application/json"
        assert check(answer)["param"] == param
        assert param.split("[")[0].split(".")[0] in answer["error"]["message"]
        assert head["x-should-retry"] == "false"


@pytest.mark.parametrize("body,param", COMPLETION_CASES, ids=lambda v: str(v)[:60])
def test_completion_case(fake, body, param):
    status, _, answer = fake.post(COMPLETIONS, body)
    assert status == 400, answer
    assert check(answer)["param"] == param


@pytest.mark.parametrize("raw", [
    b"", b" ", b"null", b"5", b"[]", b'"x"', b"{", b"{}x", b'{"a":1,"a":2}', b'{"messages":[],}',
    b'\xef\xbb\xbf{"messages":[]}', b'{"a":"\xff"}', b'{"a":"\\u0000"}', b'{"a":"\\ud800"}',
    b'{"a":01}', b'{"a":1.}', b'{"a":1e400}', b'{"a":NaN}', b"{'a':1}", b'{"a":"\n"}',
    b'{"a":' + b"[" * 65 + b"]" * 65 + b"}", b'{"\\u006d":1,"m":2}', b"{}\0",
    b'{"a":[' + b"0," * 300000 + b"0]}"])
def test_bad_json(fake, raw):
    status, _, answer = fake.post(CHAT, raw)
    assert status == 400, answer
    check(answer)


def test_too_many_fields(fake):
    status, _, answer = fake.post(CHAT, {**OK, **{f"f{i}": 1 for i in range(300)}})
    assert status == 400 and "fields" in answer["error"]["message"]


def test_unknown_model(fake, client):
    status, _, answer = fake.post(CHAT, chat(model="gpt-4o"))
    assert status == 404
    assert answer["error"]["code"] == "model_not_found" and answer["error"]["param"] == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    assert fake.post(CHAT, chat(model="fake-model"))[0] == 200
    assert fake.post(CHAT, chat(model="default"))[0] == 200


def test_context_overflow(fake):
    status, _, answer = fake.post(CHAT, said({"role": "user", "content": "x" * 20000}))
    assert status == 400
    error = check(answer)
    assert error["code"] == "context_length_exceeded"
    assert error["n_ctx"] == 4096 and error["n_prompt_tokens"] > 4096 or "n_ctx" not in error


def test_sdk_sees_the_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="default", messages=[], stream=True)
    assert caught.value.param == "messages"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")


def test_strict_mode(launch):
    server = launch("--strict-params")
    for field in ("user", "invented"):
        status, _, answer = server.post(CHAT, chat(**{field: "x"}))
        assert status == 400 and answer["error"]["param"] == field
    assert server.post(CHAT, OK)[0] == 200


@pytest.mark.parametrize("path,body,param", [
    ("/tokenize", {}, "content"), ("/tokenize", {"content": 5}, "content"),
    ("/tokenize", {"content": "x", "with_pieces": "y"}, "with_pieces"),
    ("/detokenize", {}, "tokens"), ("/detokenize", {"tokens": ["a"]}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"), ("/apply-template", {}, "messages")])
def test_text_endpoints(fake, path, body, param):
    status, _, answer = fake.post(path, body)
    assert status == 400
    assert check(answer)["param"] == param


def test_values_at_the_limits_pass(fake):
    for fields in ({"n": 32}, {"skip_special_tokens": False}, {"temperature": 2}, {"temperature": 0}, {"top_p": 0}, {"top_p": 1},
                   {"top_k": -1}, {"top_k": 0}, {"min_p": 1}, {"presence_penalty": -2},
                   {"repetition_penalty": 100}, {"repetition_penalty": 1e-300},
                   {"stop": ["x" * 256] * 16}, {"max_tokens": 2**31 - 1}, {"max_tokens": 5.0},
                   {"logit_bias": {str(i): -100 for i in range(1024)}},
                   {"logprobs": True, "top_logprobs": 20}):
        status, _, answer = fake.post(CHAT, chat(**fields))
        assert status == 200, (fields, answer)


def test_the_message_is_safe_json(fake):
    """A hostile name in a message is escaped and cannot break the body."""
    status, _, answer = fake.post(CHAT, chat(model='"},{\n\u2028<script>'))
    assert status == 404
    assert json.dumps(answer)
