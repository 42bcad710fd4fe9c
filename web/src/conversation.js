// One conversation on the page: the branch of its messages that is shown, the answer that is being
// streamed, stop, regenerate, edit, and errors shown in place with a way to try again.
//
// A message is {role, content} and its place in the tree (tree.js); an answer also has `reasoning`,
// `thought_ms`, `calls` [{name, arguments}], `model`, `rate`, and what became of it: `open` (still
// streaming; after a reload: never finished), `stopped`, `cut`, `error`.
import { $, h } from "./dom.js";
import { ApiError, streamChat } from "./api.js";
import { messageView } from "./message.js";
import { makeFollower } from "./scroll.js";
import { saveChat } from "./store.js";
import { addMessage, branchOf, cutBefore, growTree, showVersion, versionsOf } from "./tree.js";

const TITLE_LENGTH = 48;
const SAVE_EVERY_MS = 3000;

/** What the model gets: neither errors nor empty answers nor what it only thought, and the roles take
 *  turns. */
export function historyOf(messages, system) {
  const history = system ? [{ role: "system", content: system }] : [];
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

/** hooks: {changed(chat) after a save, busy(flag), needKey(), sampling(), system()}. */
export function makeConversation(hooks) {
  const list = $("messages");
  const follower = makeFollower(list);
  let chat = null;
  let running = null; // {chat, message, controller} of the answer that streams

  addEventListener("visibilitychange", () => { if (running) save(running.chat); });

  function start() {
    const id = crypto.randomUUID?.() || `${Date.now()}-${Math.random()}`;
    show({ id, title: "New chat", updated: Date.now(), messages: [], leaf: null });
  }

  function show(loaded) {
    stop();
    chat = growTree(loaded);
    drawTitle();
    drawBranch();
    follower.toEnd();
  }

  function drawBranch() {
    list.replaceChildren(...branchOf(chat).map((message) => {
      const view = messageView(message, actions);
      view.update();
      view.settle();
      return view.element;
    }));
    if (chat.messages.length) return;
    list.append(h("div", { class: "empty" }, h("h2", {}, "What shall we talk about?"),
      h("p", {}, "Answers come from the model on this server. " +
        "Chats are kept in this browser only.")));
  }

  // What the buttons of a message do.
  const actions = {
    busy: () => Boolean(running),
    versions: (message) => versionsOf(chat, message),
    show(version) {
      if (running) return;
      showVersion(chat, version);
      drawBranch();
      list.focus({ preventScroll: true }); // the button that had the focus is gone
      save(chat);
    },
    async regenerate() {
      if (running) return;
      const last = branchOf(chat).at(-1);
      if (last?.role === "assistant") {
        cutBefore(chat, last);
        list.lastElementChild.remove();
        list.focus({ preventScroll: true });
      }
      await answer();
    },
    async edit(message, text) {
      if (running) return;
      cutBefore(chat, message);
      addMessage(chat, { role: "user", content: text });
      drawBranch();
      list.focus({ preventScroll: true });
      await answer();
    },
  };

  function drawTitle() {
    $("chat-title").textContent = chat.title;
    document.title = chat.messages.length ? `${chat.title} · Wicara` : "Wicara";
  }

  async function send(text) {
    if (running || !text.trim()) return;
    if (!chat.messages.length) {
      chat.title = titleOf(text);
      list.replaceChildren();
    }
    const view = messageView(addMessage(chat, { role: "user", content: text }), actions);
    view.update();
    view.settle();
    list.append(view.element);
    drawTitle();
    await answer();
  }

  async function save(which) {
    which.updated = Date.now();
    await saveChat(which).catch(() => {}); // no room, say: the conversation goes on
    hooks.changed(which);
  }

  async function answer() {
    const history = historyOf(branchOf(chat), hooks.system());
    const message = addMessage(chat, { role: "assistant", content: "", open: true });
    const run = { chat, message, controller: new AbortController() };
    const view = messageView(message, actions);
    list.append(view.element);
    follower.toEnd();
    running = run;
    hooks.busy(true);
    save(run.chat);
    const saver = setInterval(() => save(run.chat), SAVE_EVERY_MS);
    try {
      await stream(message, view, history, run.controller.signal);
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
    view.update();
    view.settle();
    follower.grown();
    await save(run.chat);
  }

  /** Takes one part of the stream into the message. */
  function take(message, part, times) {
    const now = performance.now();
    if (part.reasoning) {
      times.thought ??= now;
      message.reasoning = (message.reasoning || "") + part.reasoning;
    } else if (part.text || part.calls) {
      if (times.thought && !message.thought_ms) message.thought_ms = now - times.thought;
      message.content += part.text || "";
      for (const piece of part.calls || []) {
        message.calls ??= [];
        const call = (message.calls[piece.index ?? 0] ??= { name: "", arguments: "" });
        call.name += piece.function?.name || "";
        call.arguments += piece.function?.arguments || "";
      }
    } else {
      if (times.thought && !message.thought_ms) message.thought_ms = now - times.thought;
      message.cut = part.finish === "length";
      if (part.model) message.model = part.model;
      message.rate = rateOf(part, (now - times.first) / 1000);
    }
    times.first ??= now;
  }

  /** Streams into the view, one paint a frame at most; the view may leave the page meanwhile. */
  async function stream(message, view, history, signal) {
    const wait = h("div", { class: "wait", role: "img", "aria-label": "Thinking" }, "●●●");
    const say = speaker();
    const times = {};
    let frame = 0;
    view.body.after(wait);
    follower.grown();
    const paint = () => {
      frame = 0;
      if (message.content || message.reasoning || message.calls) wait.remove();
      view.update();
      if (view.element.isConnected) say.push(message.content);
      follower.grown();
    };
    try {
      for await (const part of streamChat(history, hooks.sampling(), signal)) {
        take(message, part, times);
        frame ||= requestAnimationFrame(paint);
      }
    } finally {
      cancelAnimationFrame(frame);
      paint();
      wait.remove();
      if (view.element.isConnected) say.end(message.content);
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

/** "35 tokens/s": what the server measured, else what arrived here; "" when neither says anything. */
function rateOf({ timings, usage }, seconds) {
  const tokens = timings?.predicted_n ?? usage?.completion_tokens ?? 0;
  const rate = timings?.predicted_per_second || (seconds > 0 ? (tokens - 1) / seconds : 0);
  return tokens > 1 && rate > 0 ? `${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s` : "";
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
