"""A scripted conversation through LiteLLM, by both providers that gateways name for such a server: whole,
streamed, refused, structured, with a tool to the end of its task.
Prints "ok" when all of it went as it must. WICARA_URL names the server."""

import asyncio
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download of prices

import litellm  # noqa: E402

litellm.suppress_debug_info = True
base = os.environ["WICARA_URL"] + "/v1"
ask = [{"role": "system", "content": "Answer in one short sentence."},
       {"role": "user", "content": "What is the sea?"}]

texts = set()
for provider in ("openai", "hosted_vllm"):
    common = {"model": f"{provider}/default", "api_base": base, "api_key": "none", "messages": ask,
              "max_tokens": 24, "temperature": 0, "num_retries": 0}
    whole = litellm.completion(**common)
    usage = None
    text = ""
    for chunk in litellm.completion(**common, stream=True, stream_options={"include_usage": True}):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = getattr(chunk, "usage", None) or usage
    assert text == whole.choices[0].message.content and text
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert usage.completion_tokens == whole.usage.completion_tokens > 0
    texts.add(text)

    async def asynchronous(common=common):
        answer = await litellm.acompletion(**common)
        return answer.choices[0].message.content
    texts.add(asyncio.run(asynchronous()))

    scored = litellm.completion(**common, logprobs=True, top_logprobs=2)
    assert len(scored.choices[0].logprobs.content[0].top_logprobs) == 2
    many = litellm.completion(**{**common, "n": 2, "temperature": 1})
    assert len(many.choices) == 2
    try:
        litellm.completion(**{**common, "max_tokens": -1})
        raise SystemExit("max_tokens -1 was taken")
    except litellm.BadRequestError as error:
        assert "max_tokens" in str(error)
assert len(texts) == 1

schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}},
          "required": ["colour"], "additionalProperties": False}
common = {"model": "openai/default", "api_base": base, "api_key": "none", "max_tokens": 80,
          "temperature": 0, "num_retries": 0}
answer = litellm.completion(**common, messages=ask, response_format={
    "type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}})
assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "blue")

# A tool to the end of its task, whole and streamed.
tool = {"type": "function", "function": {"name": "paint", "strict": True, "parameters": schema}}
turn = list(ask)
message = litellm.completion(**common, messages=turn, tools=[tool],
                             tool_choice="required").choices[0].message
call = message.tool_calls[0].function
assert call.name == "paint" and json.loads(call.arguments)["colour"] in ("red", "blue")
chunks = list(litellm.completion(**common, messages=turn, tools=[tool], tool_choice="required",
                                 stream=True))
built = litellm.stream_chunk_builder(chunks, messages=turn)
assert built.choices[0].message.tool_calls[0].function.arguments == call.arguments
assert built.choices[0].finish_reason == "tool_calls"
turn += [message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id,
                                "content": "painted"}]
answer = litellm.completion(**common, messages=turn, tools=[tool], tool_choice="none")
assert answer.choices[0].message.content

answer = litellm.text_completion(model="text-completion-openai/default", api_base=base, api_key="none",
                                 prompt=["Once upon a time", "The sea"], max_tokens=6, temperature=0)
assert len(answer.choices) == 2 and all(c.text for c in answer.choices)
print("ok")
