// One conversation on the page: its messages, the answer that is being streamed, stop, regenerate,
// and errors shown in place with a way to try again.
import { $, h } from "./dom.js";
import { ApiError, streamChat } from "./api.js";
import { markdownView } from "./markdown.js";
import { saveChat } from "./store.js";

const TITLE_LENGTH = 48;

/** hooks: {saved(chat), busy(flag), needKey()}. */
export function makeConversation(hooks) {
  const list = $("messages");
  let chat = null;
  let running = null; // AbortController of the answer that streams
  let follow = true; // the view stays at the end unless the reader scrolled away

  list.addEventListener("scroll", () => {
    follow = list.scrollHeight - list.scrollTop - list.clientHeight < 48;
  }, { passive: true });

  const scrollDown = () => { if (follow) list.scrollTop = list.scrollHeight; };

  function start() {
    stop();
    chat = { id: crypto.randomUUID?.() || String(Date.now() + Math.random()), title: "New chat",
      updated: Date.now(), messages: [] };
    draw();
  }

  function show(loaded) {
    stop();
    chat = loaded;
    draw();
  }

  function draw() {
    $("chat-title").textContent = chat.title;
    document.title = chat.messages.length ? `${chat.title} · Wicara` : "Wicara";
    list.replaceChildren();
    if (!chat.messages.length) {
      list.append(h("div", { class: "empty" }, h("h2", {}, "What shall we talk about?"),
        h("p", {}, "Everything stays on this machine: the model runs here, chats are kept in this browser.")));
    }
    chat.messages.forEach((message, i) => list.append(drawMessage(message, i)));
    follow = true;
    scrollDown();
  }

  function drawMessage(message, i) {
    const last = i === chat.messages.length - 1;
    const body = h("div", { class: "body" });
    const element = h("article", { class: `message ${message.role}`,
      "aria-label": message.role === "user" ? "You" : "Assistant" }, body);
    if (message.role === "user") body.textContent = message.content;
    else markdownView(body).update(message.content);
    element.append(...footer(message, last));
    return element;
  }

  /** What stands below a message: an error with a retry, or notes and buttons. */
  function footer(message, last) {
    if (message.role === "user") return [];
    const parts = [];
    if (message.error) {
      parts.push(h("div", { class: "error", role: "alert" }, h("p", {}, message.error),
        last ? h("button", { type: "button", onclick: regenerate }, "Try again") : null));
    }
    const notes = [message.stopped ? "stopped" : "", message.cut ? "cut off at the token limit" : "",
      message.rate || ""].filter(Boolean).join(" · ");
    const row = h("div", { class: "tools" });
    if (message.content) row.append(copyButton(message));
    if (last && !message.error) {
      row.append(h("button", { type: "button", onclick: regenerate }, "Regenerate"));
    }
    if (notes) row.append(h("span", { class: "notes" }, notes));
    if (row.childNodes.length) parts.push(row);
    return parts;
  }

  function copyButton(message) {
    const button = h("button", { type: "button", onclick: async () => {
      await navigator.clipboard.writeText(message.content);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } }, "Copy");
    return button;
  }

  async function send(text) {
    if (running || !text.trim()) return;
    chat.messages.push({ role: "user", content: text });
    if (chat.messages.length === 1) {
      const line = text.trim().split("\n")[0];
      chat.title = line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
    }
    await answer();
  }

  async function regenerate() {
    if (running) return;
    if (chat.messages.at(-1)?.role === "assistant") chat.messages.pop();
    await answer();
  }

  async function save() {
    chat.updated = Date.now();
    await saveChat(chat).catch(() => {}); // a private window may have no storage: the chat goes on
    hooks.saved(chat);
  }

  async function answer() {
    const own = chat;
    const history = own.messages.filter((m) => m.role === "user" || m.content)
      .map(({ role, content }) => ({ role, content }));
    const message = { role: "assistant", content: "" };
    own.messages.push(message);
    await save();
    if (chat !== own) return;
    draw();
    running = new AbortController();
    hooks.busy(true);
    try {
      await stream(own, message, history, running.signal);
    } catch (error) {
      if (error.name === "AbortError") message.stopped = true;
      else message.error = error instanceof ApiError ? error.message : String(error);
      if (error.status === 401) hooks.needKey();
    }
    running = null;
    hooks.busy(false);
    await save();
    if (chat === own) {
      const keep = follow;
      const element = list.lastElementChild;
      element.replaceWith(drawMessage(message, own.messages.length - 1));
      follow = keep;
      scrollDown();
    }
  }

  async function stream(own, message, history, signal) {
    const element = list.lastElementChild;
    const body = element.querySelector(".body");
    const view = markdownView(body);
    const wait = element.appendChild(h("div", { class: "wait", "aria-label": "Thinking" }, "●●●"));
    const said = sentences();
    let frame = 0;
    let first = 0;
    const paint = () => {
      frame = 0;
      if (chat !== own) return;
      wait.remove();
      view.update(message.content);
      said.push(message.content);
      scrollDown();
    };
    for await (const part of streamChat(history, signal)) {
      if (part.text) {
        first ||= performance.now();
        message.content += part.text;
        frame ||= requestAnimationFrame(paint);
      } else {
        message.cut = part.finish === "length";
        const seconds = (performance.now() - first) / 1000;
        const tokens = part.usage?.completion_tokens || 0;
        if (tokens > 1 && seconds > 0) message.rate = `${((tokens - 1) / seconds).toFixed(0)} tokens/s`;
      }
    }
    if (frame) cancelAnimationFrame(frame);
    paint();
    said.end(message.content);
  }

  function stop() {
    running?.abort();
  }

  return { start, show, send, stop, id: () => chat?.id, busy: () => Boolean(running) };
}

/** Feeds the live region sentence by sentence, so that a screen reader is not interrupted. */
function sentences() {
  let told = 0;
  const tell = (text) => { if (text.trim()) $("live").textContent = text; };
  return {
    push(text) {
      const end = Math.max(text.lastIndexOf(". "), text.lastIndexOf("\n"), text.lastIndexOf("? "),
        text.lastIndexOf("! "));
      if (end > told) {
        tell(text.slice(told, end + 1));
        told = end + 1;
      }
    },
    end: (text) => tell(text.slice(told)),
  };
}
