"""A scripted conversation through LlamaIndex's OpenAILike, as chat and as plain completion. Prints
"ok" when all of it went as it must. WICARA_URL names the server."""

import asyncio
import os

import openai
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike

common = {"model": "default", "api_base": os.environ["WICARA_URL"] + "/v1", "api_key": "none",
          "context_window": 2048, "max_tokens": 24, "temperature": 0, "max_retries": 0}
chat = OpenAILike(is_chat_model=True, **common)
messages = [ChatMessage(role="system", content="Answer in one short sentence.")]


def say(text):
    messages.append(ChatMessage(role="user", content=text))
    whole = chat.chat(messages)
    last = None
    for last in chat.stream_chat(messages):
        pass
    assert last.message.content == whole.message.content and whole.message.content
    assert whole.raw.usage.completion_tokens > 0
    messages.append(whole.message)
    return whole.message.content


first = [say("Hello!"), say("What is the sea?")]
del messages[1:]
assert [say("Hello!"), say("What is the sea?")] == first

# Its complete() of a chat model is a chat of one message.
assert chat.complete("What is the sea?").text == chat.chat(
    [ChatMessage(role="user", content="What is the sea?")]).message.content


async def asynchronous():
    whole = await chat.achat(messages[:2])
    parts = [p.delta async for p in await chat.astream_chat(messages[:2])]
    assert "".join(parts) == whole.message.content

asyncio.run(asynchronous())

text = OpenAILike(is_chat_model=False, **common)
whole = text.complete("Once upon a time")
assert whole.text == "".join(p.delta for p in text.stream_complete("Once upon a time"))

try:
    chat.chat(messages[:2], temperature=9)
    raise SystemExit("a temperature of 9 was taken")
except openai.BadRequestError as error:
    assert error.param == "temperature"
print("ok")
