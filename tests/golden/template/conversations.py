"""Conversations for the templates: every shape that a client of the server can send."""

import json

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a \"place\" <now> & later",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name of the city"},
        "days": {"type": "integer", "default": 1, "minimum": 0, "maximum": 1.5e3},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "where": {"type": "object", "properties": {"lat": {"type": "number"},
                                                   "tags": {"type": "array", "items": {"type": "string"}}},
                  "required": ["lat"]}},
        "required": ["city"]}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Find\nthings", "parameters": {
        "type": "object", "properties": {"query": {"type": ["string", "null"]},
                                         "limit": {"type": "integer", "nullable": True}},
        "required": []}}}
BARE = {"type": "function", "function": {"name": "noop", "description": "Nothing",
                                         "parameters": {"type": "object", "properties": {}}}}
ARGS = {"city": "Zürich \"ZH\"", "days": 2, "deep": {"a": [1, 2.50, None, True], "b": {}}, "e": []}


def call(arguments, name="get_weather", id_="call12345"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": "You are terse. 日本語 \U0001f600"}
USER = {"role": "user", "content": "Hi, what is 1 < 2 & 'x'? {{ no }} {% raw %}"}
ASSISTANT = {"role": "assistant", "content": "  It is true.\n\n"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "part one "},
                                     {"type": "text", "text": "<|im_end|>part two"}]}


def conversations():
    """(name, variables without add_generation_prompt)."""
    yield "one", dict(messages=[USER])
    yield "empty", dict(messages=[])
    yield "system", dict(messages=[SYSTEM, USER])
    yield "system only", dict(messages=[SYSTEM])
    yield "developer", dict(messages=[{"role": "developer", "content": "be good"}, USER])
    turns = [USER, ASSISTANT, {"role": "user", "content": "And\r\n\tthen?\n"},
             {"role": "assistant", "content": "Γειά ΣΑΣ — done"}, {"role": "user", "content": "ok"}]
    yield "turns", dict(messages=turns)
    yield "system turns", dict(messages=[SYSTEM] + turns)
    yield "blank", dict(messages=[{"role": "user", "content": ""},
                                  {"role": "assistant", "content": ""},
                                  {"role": "user", "content": "  \n "}])
    yield "two users", dict(messages=[USER, USER])
    yield "ends with assistant", dict(messages=[SYSTEM, USER, ASSISTANT])
    yield "parts", dict(messages=[SYSTEM, PARTS])
    yield "null", dict(messages=[USER, {"role": "assistant", "content": None}, USER])
    yield "no content", dict(messages=[USER, {"role": "assistant"}, USER])
    think = {"role": "assistant", "content": "So 4.", "reasoning_content": "2 + 2\nis 4"}
    inline = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSo 4."}
    yield "thinking", dict(messages=[USER, think, USER, think])
    yield "thinking inline", dict(messages=[SYSTEM, USER, inline, USER, inline, USER])
    yield "thinking off", dict(messages=[SYSTEM, USER, think, USER], enable_thinking=False,
                               thinking=False)
    yield "thinking on", dict(messages=[USER, inline, USER], enable_thinking=True, thinking=True,
                              reasoning_effort="high")
    for name, tools in ("tools", [WEATHER, SEARCH, BARE]), ("one tool", [WEATHER]):
        yield name, dict(messages=[USER], tools=tools)
        yield "system " + name, dict(messages=[SYSTEM, USER], tools=tools)
    yield "no tools", dict(messages=[USER], tools=[])
    for kind, arguments in ("object", ARGS), ("string", json.dumps(ARGS)), ("none", {}):
        once = [USER, {"role": "assistant", "content": "", "tool_calls": [call(arguments)]},
                {"role": "tool", "tool_call_id": "call12345", "name": "get_weather",
                 "content": "{\"temp\": 21.50}"}]
        null = [USER, {"role": "assistant", "content": None, "tool_calls": [call(arguments)]},
                once[2]]
        twice = once[:1] + [
            {"role": "assistant", "content": "Let me look.", "reasoning_content": "need tools",
             "tool_calls": [call(arguments), call({} if kind == "object" else "{}", "search",
                                                  "call67890")]},
            once[2], {"role": "tool", "tool_call_id": "call67890", "name": "search",
                      "content": "nothing"}, {"role": "assistant", "content": "21 degrees"}, USER]
        for tools in [WEATHER, SEARCH], None:
            tail = dict(tools=tools) if tools else {}
            yield f"call {kind} {bool(tools)}", dict(messages=once, **tail)
            yield f"call null {kind} {bool(tools)}", dict(messages=null, **tail)
            yield f"calls {kind} {bool(tools)}", dict(messages=[SYSTEM] + twice, **tail)
    yield "documents", dict(messages=[SYSTEM, USER],
                            documents=[{"title": "T", "text": "body", "doc_id": 1},
                                       {"title": "U", "text": "more\n\nlines"}])
    yield "date", dict(messages=[USER], date_string="26 Jul 2024", tools=[WEATHER])
    yield "builtin", dict(messages=[SYSTEM, USER], builtin_tools=["browser", "python"],
                          model_identity="You are M.", tools=[SEARCH])
    yield "odd role", dict(messages=[{"role": "critic", "content": "no"}])


def variables():
    """(name, JSON) with and without the generation prompt."""
    for name, given in conversations():
        for prompt in False, True:
            values = dict(messages=[], tools=None, documents=None, bos_token="<s>",
                          eos_token="</s>", add_generation_prompt=prompt)
            values.update(given)
            yield f"{name}{' +' if prompt else ''}", json.dumps(values, ensure_ascii=False)
