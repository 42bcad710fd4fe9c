// One message on the page: its text, the model's reasoning in a block that folds, tool calls, what
// became of the answer, and the buttons below it.
import { copyButton, h } from "./dom.js";
import { markdownView } from "./markdown.js";

/** Arguments of a call for reading: JSON indented, anything else as it is. */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // still streaming, or no JSON at all
  }
}

const secondsOf = (ms) => (ms < 950 ? "under a second" : `${Math.round(ms / 1000)} s`);

/** The reasoning: open while the model still thinks, folded once it answers, as the reader wishes
 *  as soon as they clicked. */
function thoughtView() {
  const summary = h("summary");
  const text = h("div", { class: "thought-text" });
  const element = h("details", { class: "thought" }, summary, text);
  const view = markdownView(text);
  let touched = false;
  summary.addEventListener("click", () => { touched = true; });
  return {
    element,
    update(message, thinks) {
      summary.textContent = thinks ? "Thinking …"
        : message.thought_ms ? `Thought for ${secondsOf(message.thought_ms)}` : "Thought";
      if (!touched) element.open = thinks;
      view.update(message.reasoning);
    },
  };
}

function callView() {
  const name = h("span", { class: "call-name" });
  const text = h("pre", { tabindex: 0, "aria-label": "Arguments" });
  return {
    element: h("div", { class: "call", role: "group", "aria-label": "Tool call" },
      h("div", { class: "call-head" }, "Calls ", name, copyButton(() => text.textContent)), text),
    update(call) {
      name.textContent = call.name || "…";
      text.textContent = readable(call.arguments);
    },
  };
}

/**
 * actions: {regenerate(), edit(message, text), versions(message), show(version), busy()}.
 * Returns {element, update(), settle()}: update paints what has come so far, settle adds what stands
 * below a finished message.
 */
export function messageView(message, actions) {
  const own = message.role === "user";
  const body = h("div", { class: "body" });
  const element = h("article", { class: `message ${message.role}`,
    "aria-label": own ? "You" : "Assistant" }, body);
  const markdown = own ? null : markdownView(body);
  const calls = [];
  let thought = null;
  let below = [];

  function update() {
    if (own) {
      body.textContent = message.content;
      return;
    }
    const answers = Boolean(message.content || message.calls?.length);
    if (message.reasoning) {
      if (!thought) {
        thought = thoughtView();
        body.before(thought.element);
      }
      thought.update(message, Boolean(message.open) && !answers);
    }
    markdown.update(message.content);
    message.calls?.forEach((call, i) => {
      if (!calls[i]) {
        calls[i] = callView();
        element.append(calls[i].element);
      }
      calls[i].update(call);
    });
  }

  /** An arrow on each side of "2 / 3", for a message that has other versions. */
  function versionSwitch() {
    const versions = actions.versions(message);
    if (versions.length < 2) return null;
    const at = versions.indexOf(message);
    const arrow = (label, sign, to) => h("button", { type: "button", class: "arrow",
      "aria-label": label, disabled: !versions[to], onclick: () => actions.show(versions[to]) }, sign);
    return h("span", { class: "versions", role: "group", "aria-label": "Versions of this message" },
      arrow("Earlier version", "‹", at - 1), `${at + 1} / ${versions.length}`,
      arrow("Later version", "›", at + 1));
  }

  function notesOf() {
    const empty = !message.content && !message.reasoning && !message.calls?.length &&
      !message.error && !message.stopped && !message.open;
    return [message.stopped && "stopped", message.open && "not finished",
      message.cut && "cut off at the token limit", empty && "an empty answer",
      message.model, message.rate].filter(Boolean).join(" · ");
  }

  /** Style.css shows the buttons of class "again" below the last message only. */
  function settle() {
    for (const part of below) part.remove();
    const again = (label) =>
      h("button", { type: "button", class: "again", onclick: actions.regenerate }, label);
    const error = message.error &&
      h("div", { class: "error", role: "alert" }, h("p", {}, message.error), again("Try again"));
    const notes = own ? "" : notesOf();
    const tools = h("div", { class: "tools" }, versionSwitch(),
      own ? h("button", { type: "button", class: "edit", onclick: edit }, "Edit") : null,
      message.content ? copyButton(() => message.content) : null,
      own || message.error ? null : again("Regenerate"),
      notes ? h("span", { class: "notes" }, notes) : null);
    below = [error, tools].filter((part) => part?.childNodes.length);
    element.append(...below);
  }

  function edit() {
    if (actions.busy()) return;
    const box = h("textarea", { "aria-label": "Edit your message", rows: 3 });
    const done = () => {
      form.replaceWith(body);
      settle();
      element.querySelector(".edit")?.focus();
    };
    const form = h("form", { class: "editing", onsubmit: (event) => {
      event.preventDefault();
      const text = box.value;
      if (!text.trim()) return;
      if (text === message.content) done();
      else actions.edit(message, text);
    } }, box, h("div", { class: "row" },
      h("button", { type: "button", onclick: done }, "Cancel"),
      h("button", { type: "submit", class: "primary" }, "Ask again")));
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // it is not the answer that is to stop
      done();
    });
    box.value = message.content;
    for (const part of below) part.remove();
    body.replaceWith(form);
    box.focus();
  }

  return { element, body, update, settle };
}
