"""A scripted conversation through LangChain's ChatOpenAI and OpenAI: whole, streamed, in batches,
asynchronous, refused. Prints "ok" when all of it went as it must. WICARA_URL names the server."""

import asyncio
import os

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

BASE = os.environ["WICARA_URL"] + "/v1"
chat = ChatOpenAI(base_url=BASE, api_key="none", model="default", temperature=0, max_tokens=24,
                  stream_usage=True, max_retries=0, seed=1)
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

text = OpenAI(base_url=BASE, api_key="none", model="default", temperature=0, max_tokens=8, max_retries=0)
assert text.invoke("Once upon a time") == "".join(text.stream("Once upon a time"))
assert len(text.generate(["One", "Two"]).generations) == 2

try:
    chat.invoke([])
    raise SystemExit("an empty conversation was taken")
except openai.BadRequestError as error:
    assert error.param == "messages"
print("ok")
