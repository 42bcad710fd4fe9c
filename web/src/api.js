// The server's HTTP API as the page uses it: model facts, health, and one streamed chat completion.

const KEY = "wicara.key";

export function apiKey() {
  return sessionStorage.getItem(KEY) || "";
}

export function setApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

function headers() {
  const key = apiKey();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

/** An error the page shows in place: `status` is the HTTP status, 0 when nothing answered. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function errorOf(response) {
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error.message || message;
  } catch {
    // not JSON: the status has to do
  }
  return new ApiError(message, response.status);
}

/** The loaded model as /v1/models describes it; throws ApiError. */
export async function fetchModel() {
  let response;
  try {
    response = await fetch("/v1/models", { headers: headers() });
  } catch {
    throw new ApiError("The server cannot be reached.", 0);
  }
  if (!response.ok) throw await errorOf(response);
  return (await response.json()).data[0] || null;
}

/** "ready", "loading" or "unreachable". */
export async function fetchHealth() {
  try {
    const response = await fetch("/health");
    return response.ok ? "ready" : "loading";
  } catch {
    return "unreachable";
  }
}

/** Splits a stream of text chunks into the data of its server-sent events. */
export async function* sseData(chunks) {
  let pending = "";
  for await (const chunk of chunks) {
    pending += chunk;
    let end;
    while ((end = pending.search(/\r?\n\r?\n/)) >= 0) {
      const event = pending.slice(0, end);
      pending = pending.slice(end).replace(/^\r?\n\r?\n/, "");
      const data = event
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}

async function* readText(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/**
 * Streams one answer. Yields {text}, {reasoning}, {calls} (pieces of tool calls: index, and name or
 * arguments), then {finish, usage, timings, model}. `sampling` holds request parameters,
 * {} = the server's defaults. Aborting `signal` ends the work at the server too and throws AbortError;
 * else throws ApiError.
 */
export async function* streamChat(messages, sampling, signal) {
  let response;
  try {
    response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: headers(),
      signal,
      body: JSON.stringify({ model: "default", messages, stream: true,
        stream_options: { include_usage: true }, ...sampling }),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Is it still running?", 0);
  }
  if (!response.ok) throw await errorOf(response);
  let finish = null;
  let usage = null;
  let timings = null;
  let model = null;
  try {
    for await (const data of sseData(readText(response.body))) {
      if (data === "[DONE]") {
        yield { finish, usage, timings, model };
        return;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.message, 500);
      const choice = chunk.choices?.[0];
      const delta = choice?.delta || {};
      if (delta.reasoning_content) yield { reasoning: delta.reasoning_content };
      if (delta.content) yield { text: delta.content };
      if (delta.tool_calls?.length) yield { calls: delta.tool_calls };
      if (choice?.finish_reason) finish = choice.finish_reason;
      if (chunk.usage) usage = chunk.usage;
      if (chunk.timings) timings = chunk.timings;
      model = chunk.model || model;
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError("The connection to the server broke off.", 0);
  }
  throw new ApiError("The server closed the connection before the answer was complete.", 0);
}
