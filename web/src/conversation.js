// One conversation on the page: its messages, the answer that is being streamed, stop, regenerate,
// and errors shown in place with a way to try again.
//
// A chat is {id, title, updated, messages}; a message {role, content} and, on answers, what became
// of it: `open` (still streaming; after a reload: never finished), `stopped`, `cut`, `error`, `rate`.
import { $, copyButton, h } from "./dom.js";
import { ApiError, streamChat } from "./api.js";
import { markdownView } from "./markdown.js";
import { makeFollower } from "./scroll.js";
import { saveChat } from "./store.js";

const TITLE_LENGTH = 48;
const SAVE_EVERY_MS = 3000;

/** What the model gets: neither errors nor empty answers, and the roles take turns. */
export function historyOf(messages) {
  const history = [];
  for (const { role, content } of messages) {
    if (role === "assistant" && !content) continue;
    if (role === "user" && history.at(-1)?.role === "user") {
      history.at(-1).content += `\n\n${content}`;
    } else history.push({ role, content });
  }
  return history;
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

/** hooks: {changed(chat) after a save, busy(flag), needKey(), sampling()}. */
export function makeConversation(hooks) {
  const list = $("messages");
  const follower = makeFollower(list);
  let chat = null;
  let running = null; // {chat, message, controller} of the answer that streams

  addEventListener("visibilitychange", () => { if (running) save(running.chat); });

  function start() {
    const id = crypto.randomUUID?.() || `${Date.now()}-${Math.random()}`;
    show({ id, title: "New chat", updated: Date.now(), messages: [] });
  }

  function show(loaded) {
    stop();
    chat = loaded;
    drawTitle();
    list.replaceChildren(...chat.messages.map(drawMessage));
    if (!chat.messages.length) {
      list.append(h("div", { class: "empty" }, h("h2", {}, "What shall we talk about?"),
        h("p", {}, "Answers come from the model on this server. " +
          "Chats are kept in this browser only.")));
    }
    follower.toEnd();
  }

  function drawTitle() {
    $("chat-title").textContent = chat.title;
    document.title = chat.messages.length ? `${chat.title} · Wicara` : "Wicara";
  }

  function drawMessage(message) {
    const own = message.role === "user";
    const body = h("div", { class: "body" });
    if (own) body.textContent = message.content;
    else markdownView(body).update(message.content);
    const name = own ? "You" : "Assistant";
    return h("article", { class: `message ${message.role}`, "aria-label": name }, body,
      ...(own ? [] : footer(message)));
  }

  /** What stands below an answer: an error with a retry, or notes and buttons. Style.css shows the
   *  buttons of class "again" on the last message only. */
  function footer(message) {
    const again = (label) =>
      h("button", { type: "button", class: "again", onclick: regenerate }, label);
    const notes = [message.stopped && "stopped", message.open && "not finished",
      message.cut && "cut off at the token limit",
      !message.content && !message.error && !message.stopped && !message.open && "an empty answer",
      message.rate].filter(Boolean).join(" · ");
    const error = message.error &&
      h("div", { class: "error", role: "alert" }, h("p", {}, message.error), again("Try again"));
    const tools = h("div", { class: "tools" },
      message.content ? copyButton(() => message.content) : null,
      message.error ? null : again("Regenerate"),
      notes ? h("span", { class: "notes" }, notes) : null);
    return [error, tools].filter((part) => part?.childNodes.length);
  }

  async function send(text) {
    if (running || !text.trim()) return;
    if (!chat.messages.length) {
      chat.title = titleOf(text);
      list.replaceChildren();
    }
    chat.messages.push({ role: "user", content: text });
    list.append(drawMessage(chat.messages.at(-1)));
    drawTitle();
    await answer();
  }

  async function regenerate() {
    if (running) return;
    if (chat.messages.at(-1)?.role === "assistant") {
      chat.messages.pop();
      list.lastElementChild.remove();
      list.focus({ preventScroll: true }); // the button that had the focus is gone
    }
    await answer();
  }

  async function save(which) {
    which.updated = Date.now();
    await saveChat(which).catch(() => {}); // no room, say: the conversation goes on
    hooks.changed(which);
  }

  async function answer() {
    const message = { role: "assistant", content: "", open: true };
    const run = { chat, message, controller: new AbortController() };
    const history = historyOf(chat.messages);
    const element = h("article", { class: "message assistant", "aria-label": "Assistant" });
    chat.messages.push(message);
    list.append(element);
    follower.toEnd();
    running = run;
    hooks.busy(true);
    save(run.chat);
    const saver = setInterval(() => save(run.chat), SAVE_EVERY_MS);
    try {
      await stream(message, element, history, run.controller.signal);
    } catch (error) {
      if (error.name === "AbortError") message.stopped = true;
      else message.error = error instanceof ApiError ? error.message : String(error);
      if (error.status === 401) hooks.needKey();
    }
    clearInterval(saver);
    delete message.open;
    if (running === run) {
      running = null;
      hooks.busy(false);
    }
    element.append(...footer(message));
    follower.grown();
    await save(run.chat);
  }

  /** Streams into `element`, one paint a frame at most; `element` may leave the page meanwhile. */
  async function stream(message, element, history, signal) {
    const body = h("div", { class: "body" });
    const wait = h("div", { class: "wait", role: "img", "aria-label": "Thinking" }, "●●●");
    const view = markdownView(body);
    const say = speaker();
    element.append(body, wait);
    follower.grown();
    let frame = 0;
    let firstAt = 0;
    const paint = () => {
      frame = 0;
      if (message.content) wait.remove();
      view.update(message.content);
      if (element.isConnected) say.push(message.content);
      follower.grown();
    };
    try {
      for await (const part of streamChat(history, hooks.sampling(), signal)) {
        if (part.text) {
          firstAt ||= performance.now();
          message.content += part.text;
          frame ||= requestAnimationFrame(paint);
        } else {
          const seconds = (performance.now() - firstAt) / 1000;
          const tokens = part.usage?.completion_tokens || 0;
          message.cut = part.finish === "length";
          if (tokens > 1 && seconds > 0) {
            message.rate = `${((tokens - 1) / seconds).toFixed(0)} tokens/s`;
          }
        }
      }
    } finally {
      cancelAnimationFrame(frame);
      paint();
      wait.remove();
      if (element.isConnected) say.end(message.content);
    }
  }

  function stop() {
    if (!running) return;
    running.controller.abort();
    running = null;
    hooks.busy(false);
  }

  return { start, show, send, stop, id: () => chat?.id, busy: () => Boolean(running) };
}

/** Feeds the live region sentence by sentence, so that a screen reader is not interrupted. */
function speaker() {
  let told = 0;
  const tell = (text) => { if (text.trim()) $("live").textContent = text; };
  return {
    push(text) {
      const end = Math.max(...[". ", "? ", "! ", "\n"].map((mark) => text.lastIndexOf(mark)));
      if (end <= told) return;
      tell(text.slice(told, end + 1));
      told = end + 1;
    },
    end: (text) => tell(text.slice(told)),
  };
}
