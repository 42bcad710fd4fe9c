// A scripted conversation through the official Node SDK: whole, streamed, aborted, refused. Ends with
// status 0 and the line "ok" when all of it went as it must. WICARA_URL names the server.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({
  baseURL: `${process.env.WICARA_URL}/v1`,
  apiKey: process.env.WICARA_KEY ?? 'none',
  maxRetries: 0,
});
const model = (await client.models.list()).data[0].id;
const messages = [{ role: 'system', content: 'Answer in one short sentence.' }];

async function say(text) {
  messages.push({ role: 'user', content: text });
  const stream = await client.chat.completions.create({
    model, messages, stream: true, temperature: 0, max_completion_tokens: 24,
    stream_options: { include_usage: true },
  });
  let reply = '';
  let finish = null;
  let usage = null;
  for await (const chunk of stream) {
    const choice = chunk.choices[0];
    reply += choice?.delta?.content ?? '';
    finish = choice?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.ok(reply.length > 0);
  assert.ok(['stop', 'length'].includes(finish));
  assert.ok(usage.completion_tokens > 0 && usage.completion_tokens <= 24);
  messages.push({ role: 'assistant', content: reply });
  return reply;
}

// Three turns; the same turns again give the same bytes.
const first = [await say('Hello!'), await say('What is the sea?'), await say('And a river?')];
messages.length = 1;
const again = [await say('Hello!'), await say('What is the sea?'), await say('And a river?')];
assert.deepEqual(again, first);

// A whole answer equals the streamed one.
const whole = await client.chat.completions.create({
  model, messages: messages.slice(0, 2), temperature: 0, max_completion_tokens: 24,
});
assert.equal(whole.choices[0].message.content, first[0]);
assert.equal(whole.choices[0].message.role, 'assistant');
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

// The stream helper puts chunks together by itself.
const helper = client.chat.completions.stream({
  model, messages: messages.slice(0, 2), temperature: 0, max_completion_tokens: 24,
});
assert.equal((await helper.finalChatCompletion()).choices[0].message.content, first[0]);

// Leaving in the middle.
const endless = await client.chat.completions.create({
  model, messages: messages.slice(0, 2), stream: true, ignore_eos: true, max_completion_tokens: 400,
});
let seen = 0;
for await (const chunk of endless) {
  seen += chunk.choices.length;
  if (seen === 5) endless.controller.abort();
}
assert.ok(seen >= 5 && seen < 400);

// Errors arrive as the SDK's own classes.
await assert.rejects(client.chat.completions.create({ model, messages: [] }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, 'messages');
  assert.ok(error.requestID.startsWith('req_'));
  return true;
});
await assert.rejects(client.chat.completions.create({ model: 'nope', messages }), OpenAI.NotFoundError);

// Forms and tools need a model: the scripted engine makes no grammar's words.
if (process.env.WICARA_REAL) {
  const schema = {
    type: 'object', properties: { colour: { enum: ['red', 'blue'] }, n: { type: 'integer', minimum: 0, maximum: 9 } },
    required: ['colour', 'n'], additionalProperties: false,
  };
  const ask = { model, messages: messages.slice(0, 2), temperature: 0, max_completion_tokens: 80 };
  const form = { type: 'json_schema', json_schema: { name: 'paint', schema, strict: true } };
  const document = await client.chat.completions.parse({ ...ask, response_format: form });
  const text = document.choices[0].message.content;
  assert.ok(['red', 'blue'].includes(JSON.parse(text).colour));
  const streamed = client.chat.completions.stream({ ...ask, response_format: form });
  assert.equal((await streamed.finalChatCompletion()).choices[0].message.content, text);

  // The SDK's agent loop: the call is made, the tool is run here, its result goes back, words come.
  const painted = [];
  const paint = {
    type: 'function',
    function: {
      name: 'paint', description: 'Paints.', parameters: schema, parse: JSON.parse,
      function: (a) => { painted.push(a); return 'painted'; },
    },
  };
  const runner = client.chat.completions.runTools({
    ...ask, tools: [paint], tool_choice: 'required',
  }, { maxChatCompletions: 1 });
  await runner.done();
  assert.equal(painted.length, 1);
  assert.ok(['red', 'blue'].includes(painted[0].colour) && painted[0].n >= 0);
  const last = await client.chat.completions.create({ ...ask, messages: runner.messages });
  assert.ok(last.choices[0].message.content.length > 0);
  const called = await client.chat.completions.stream({
    ...ask, tool_choice: 'required',
    tools: [{ type: 'function', function: { name: 'paint', description: 'Paints.', parameters: schema } }],
  }).finalChatCompletion();
  assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), painted[0]);
}

// Legacy completions.
const text = await client.completions.create({ model, prompt: 'Once upon a time', max_tokens: 5 });
assert.ok(text.choices[0].text.length > 0);
console.log('ok');
