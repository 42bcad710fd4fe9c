// A scripted conversation through the Vercel AI SDK and its provider for OpenAI-compatible servers:
// whole, streamed, aborted, refused. Ends with status 0 and the line "ok" when all of it went as it
// must. Its zod schemas are strict about chunks. WICARA_URL names the server.
import assert from 'node:assert/strict';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateText, jsonSchema, Output, isStepCount, streamText, tool } from 'ai';

globalThis.AI_SDK_LOG_WARNINGS = false;
const provider = createOpenAICompatible({
  name: 'wicara',
  baseURL: `${process.env.WICARA_URL}/v1`,
  apiKey: process.env.WICARA_KEY ?? 'none',
  includeUsage: true,
});
const model = provider.chatModel('default');
const common = { model, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
const messages = [];

async function say(text) {
  messages.push({ role: 'user', content: text });
  const whole = await generateText({ ...common, messages });
  const stream = streamText({ ...common, messages });
  let joined = '';
  for await (const part of stream.textStream) joined += part;
  assert.ok(joined.length > 0);
  assert.equal(joined, whole.text);
  assert.equal(await stream.finishReason, whole.finishReason);
  assert.ok(['stop', 'length'].includes(whole.finishReason));
  const usage = await stream.usage;
  assert.equal(usage.outputTokens, whole.usage.outputTokens);
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  messages.push({ role: 'assistant', content: joined });
  return joined;
}

const first = [await say('Hello!'), await say('What is the sea?')];
messages.length = 0;
assert.deepEqual([await say('Hello!'), await say('What is the sea?')], first);

// Leaving in the middle.
const controller = new AbortController();
const endless = streamText({
  ...common, prompt: 'Count for ever.', maxOutputTokens: 400, abortSignal: controller.signal,
  providerOptions: { wicara: { ignore_eos: true } }, onError() {},
});
let seen = 0;
try {
  for await (const part of endless.textStream) {
    seen += part.length > 0;
    if (seen === 3) controller.abort();
  }
} catch (error) {
  assert.equal(error.name, 'AbortError');
}
assert.ok(seen >= 3 && seen < 400);

// Forms and tools need a model: the scripted engine makes no grammar's words.
if (process.env.WICARA_REAL) {
  const inputSchema = jsonSchema({
    type: 'object', properties: { colour: { enum: ['red', 'blue'] } }, required: ['colour'],
    additionalProperties: false,
  });
  const ask = { ...common, maxOutputTokens: 80, prompt: 'Which colour?' };
  const structured = createOpenAICompatible({
    name: 'wicara', baseURL: `${process.env.WICARA_URL}/v1`, apiKey: 'none',
    supportsStructuredOutputs: true,
  }).chatModel('default');
  const output = Output.object({ schema: inputSchema });
  const form = await generateText({ ...ask, model: structured, output });
  assert.ok(['red', 'blue'].includes(form.output.colour));

  // The agent loop: first step a call that must be made, then words.
  const painted = [];
  const tools = {
    paint: tool({
      description: 'Paints.', inputSchema,
      execute: async (input) => { painted.push(input.colour); return 'painted'; },
    }),
  };
  const loop = {
    ...ask, tools, stopWhen: isStepCount(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
  };
  const done = await generateText(loop);
  assert.equal(done.steps.length, 2);
  assert.equal(painted.length, 1);
  assert.equal(done.steps[0].finishReason, 'tool-calls');
  assert.ok(done.text.length > 0);
  const stream = streamText(loop);
  let joined = '';
  for await (const part of stream.textStream) joined += part;
  assert.equal(joined, done.text);
  assert.deepEqual(painted, [painted[0], painted[0]]);
}

// Plain completions, and errors as the SDK's own class.
const text = await generateText({ ...common, model: provider.completionModel('default'), prompt: 'Once upon a time' });
assert.ok(text.text.length > 0);
await assert.rejects(generateText({ ...common, temperature: 9, prompt: 'x' }), (error) => {
  assert.ok(APICallError.isInstance(error));
  assert.equal(error.statusCode, 400);
  assert.match(error.message, /temperature/);
  return true;
});
console.log('ok');
