"""A scripted conversation through LangChain's ChatOpenAI and OpenAI: whole, streamed, in batches,
asynchronous, refused, structured, with a tool to the end of its task. Prints "ok" when all of it went as it must. WICARA_URL names the server."""

import asyncio
import os

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field

BASE = os.environ["WICARA_URL"] + "/v1"
COMMON = {"base_url": BASE, "api_key": "none", "model": "default", "temperature": 0,
          "stream_usage": True, "max_retries": 0, "seed": 1}
chat = ChatOpenAI(**COMMON, max_tokens=24)
messages = [SystemMessage("Answer in one short sentence.")]


def say(text):
    messages.append(HumanMessage(text))
    whole = chat.invoke(messages)
    parts = list(chat.stream(messages))
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + part
    assert joined.content == whole.content and whole.content
    assert joined.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    assert joined.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]
    messages.append(AIMessage(whole.content))
    return whole.content


first = [say("Hello!"), say("What is the sea?")]
del messages[1:]
assert [say("Hello!"), say("What is the sea?")] == first

answers = chat.batch(["Name a colour.", "Name a river."])
assert len(answers) == 2 and all(a.content for a in answers)
scored = chat.bind(logprobs=True, top_logprobs=2).invoke("Hi")
content = scored.response_metadata["logprobs"]["content"]
assert content and all(len(t["top_logprobs"]) == 2 for t in content)
stopped = chat.invoke("Count: 1, 2, 3", stop=[","])
assert "," not in stopped.content


async def together():
    many = await asyncio.gather(*(chat.ainvoke("What is the sea?") for _ in range(3)))
    streamed = [c.content async for c in chat.astream("What is the sea?")]
    assert {m.content for m in many} == {"".join(streamed)}

asyncio.run(together())



class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


person = ChatOpenAI(**COMMON, max_tokens=80).with_structured_output(Person, method="json_schema").invoke(
    "Tom is twelve years old. Who?")
assert isinstance(person, Person) and 0 <= person.age <= 120


@tool
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return str(a + b)


caller = ChatOpenAI(**COMMON, max_tokens=80).bind_tools([add], tool_choice="required", strict=True)
question = [HumanMessage("What is two and three?")]
called = caller.invoke(question)
parts = list(caller.stream(question))
joined = parts[0]
for part in parts[1:]:
    joined = joined + part
assert called.tool_calls and called.tool_calls[0]["args"] == joined.tool_calls[0]["args"]
assert called.response_metadata["finish_reason"] == "tool_calls"
# The agent's turn: the tool is run, its result goes back, words come.
result = add.invoke(called.tool_calls[0])
assert int(result.content) == sum(called.tool_calls[0]["args"].values())
answer = chat.bind_tools([add], tool_choice="none").invoke(question + [called, result])
assert answer.content and not answer.tool_calls

text = OpenAI(base_url=BASE, api_key="none", model="default", temperature=0, max_tokens=8, max_retries=0)
assert text.invoke("Once upon a time") == "".join(text.stream("Once upon a time"))
assert len(text.generate(["One", "Two"]).generations) == 2

try:
    chat.invoke([])
    raise SystemExit("an empty conversation was taken")
except openai.BadRequestError as error:
    assert error.param == "messages"
print("ok")
