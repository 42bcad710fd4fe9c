// Markdown of a model's answer to safe DOM, block by block, so that a growing answer repaints only
// its last block. Raw HTML in the text is shown as text; DOMPurify is the page's one Trusted Types
// policy; images become links, so that a page can never be made to fetch a foreign address.
import { Marked } from "marked";
import DOMPurify from "dompurify";
import { copyButton, h } from "./dom.js";
import { blockMath, hasMath, inlineMath, loadMath, mathIsLoaded } from "./math.js";

let highlighter = null; // highlight.js once it is loaded
let loading = null;

/** Loads highlight.js on the first code block; `then` runs when it is there. */
function loadHighlighter(then) {
  loading ??= import("highlight.js/lib/common").then((module) => {
    highlighter = module.default;
  });
  loading.then(then, () => {});
}

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escapeHtml = (text) => text.replace(/[&<>"']/g, (c) => escapes[c]);

const marked = new Marked({
  gfm: true,
  extensions: [blockMath, inlineMath],
  renderer: {
    html: ({ text }) => escapeHtml(text),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    code({ text, lang }) {
      const language = (lang || "").trim().split(/\s+/)[0];
      const known = highlighter?.getLanguage(language);
      const body = known ? highlighter.highlight(text, { language }).value : escapeHtml(text);
      return `<pre data-lang="${escapeHtml(language)}"><code>${body}\n</code></pre>`;
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

function fill(element, html) {
  element.innerHTML = DOMPurify.sanitize(html, {
    RETURN_TRUSTED_TYPE: true,
    FORBID_TAGS: ["style", "form", "input", "button", "img"],
    FORBID_ATTR: ["style"],
    ADD_ATTR: ["data-lang"],
  });
  for (const pre of element.querySelectorAll("pre")) addCodeBar(pre);
  for (const table of element.querySelectorAll("table")) {
    const box = h("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(box);
    box.append(table);
  }
}

/** The bar above a code block: its language and a button that copies it. */
function addCodeBar(pre) {
  const bar = h("div", { class: "code-bar" }, h("span", {}, pre.dataset.lang || "text"),
    copyButton(() => pre.textContent.replace(/\n$/, "")));
  const box = h("div", { class: "code" });
  pre.tabIndex = 0;
  pre.replaceWith(box);
  box.append(bar, pre);
}

/** Code on its own or inside a list or a quotation. */
const hasCode = (token) => token.type === "code" || /```|~~~/.test(token.raw);

/** A view of one answer inside `container`: call update(text) as often as it grows. */
export function markdownView(container) {
  let blocks = []; // [{raw, element}]
  let shown = "";

  function update(text, again = false) {
    shown = text;
    const tokens = marked.lexer(text).filter((token) => token.type !== "space");
    tokens.links ??= {};
    tokens.forEach((token, i) => {
      const old = blocks[i];
      const redo = again && (hasCode(token) || hasMath(token.raw));
      if (old && old.raw === token.raw && !redo) return;
      const element = old?.element || container.appendChild(document.createElement("div"));
      const part = [token];
      part.links = tokens.links;
      fill(element, marked.parser(part));
      blocks[i] = { raw: token.raw, element };
    });
    for (const { element } of blocks.splice(tokens.length)) element.remove();
    if (!highlighter && tokens.some(hasCode)) {
      loadHighlighter(() => update(shown, true));
    }
    if (!mathIsLoaded() && tokens.some((token) => hasMath(token.raw))) {
      loadMath(() => update(shown, true));
    }
  }
  return { update };
}
