// Markdown of a model's answer to safe DOM, block by block, so that a growing answer repaints only
// its last block. Raw HTML in the text is shown as text; DOMPurify is the page's one Trusted Types
// policy; images become links, so that a page can never be made to fetch a foreign address.
import { Marked } from "marked";
import DOMPurify from "dompurify";

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
  renderer: {
    html: ({ text }) => escapeHtml(text),
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
}

/** The bar above a code block: its language and a button that copies it. */
function addCodeBar(pre) {
  const bar = document.createElement("div");
  const name = document.createElement("span");
  const copy = document.createElement("button");
  bar.className = "code-bar";
  name.textContent = pre.dataset.lang || "text";
  copy.type = "button";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent.replace(/\n$/, ""));
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const box = document.createElement("div");
  box.className = "code";
  bar.append(name, copy);
  pre.tabIndex = 0;
  pre.replaceWith(box);
  box.append(bar, pre);
}

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
      const redo = again && token.type === "code";
      if (old && old.raw === token.raw && !redo) return;
      const element = old?.element || container.appendChild(document.createElement("div"));
      const part = [token];
      part.links = tokens.links;
      fill(element, marked.parser(part));
      blocks[i] = { raw: token.raw, element };
    });
    for (const { element } of blocks.splice(tokens.length)) element.remove();
    if (!highlighter && tokens.some((token) => token.type === "code")) {
      loadHighlighter(() => update(shown, true));
    }
  }
  return { update };
}
