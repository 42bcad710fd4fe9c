"""A scripted conversation through LlamaIndex's OpenAILike, as chat and as plain completion. Prints
"ok" when all of it went as it must. WICARA_URL names the server."""

import asyncio
import os

import openai
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

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



class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return str(a + b)


caller = OpenAILike(is_chat_model=True, is_function_calling_model=True,
                    **{**common, "max_tokens": 80})
question = [ChatMessage(role="user", content="What is two and three?")]
tool = FunctionTool.from_defaults(add)
answer = caller.chat_with_tools([tool], chat_history=question, tool_choice="required")
call, = caller.get_tool_calls_from_response(answer)
assert call.tool_name == "add" and set(call.tool_kwargs) == {"a", "b"}
last = None
for last in caller.stream_chat_with_tools([tool], chat_history=question, tool_choice="required"):
    pass
assert caller.get_tool_calls_from_response(last)[0].tool_kwargs == call.tool_kwargs
# The agent's turn: the tool is run, its result goes back, words come.
result = tool.call(**call.tool_kwargs)
history = question + [answer.message, ChatMessage(
    role="tool", content=str(result), additional_kwargs={"tool_call_id": call.tool_id})]
assert caller.chat(history).message.content
# Structured output comes as a call that must be made.
person = caller.structured_predict(Person, PromptTemplate("Tom is twelve years old. Who?"))
assert isinstance(person, Person) and 0 <= person.age <= 120

text = OpenAILike(is_chat_model=False, **common)
whole = text.complete("Once upon a time")
assert whole.text == "".join(p.delta for p in text.stream_complete("Once upon a time"))

try:
    chat.chat(messages[:2], temperature=9)
    raise SystemExit("a temperature of 9 was taken")
except openai.BadRequestError as error:
    assert error.param == "temperature"
print("ok")
