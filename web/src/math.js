// TeX in a model's answer: finds it for marked, and turns it into MathML with KaTeX once that is
// loaded (its own chunk). MathML needs neither fonts nor inline styles, which the page's policy
// forbids. Until then, and where the TeX is wrong, its source is shown.

let katex = null;
let loading = null;

/** Loads KaTeX; `then` runs when it is there. */
export function loadMath(then) {
  loading ??= import("katex").then((module) => {
    katex = module.default;
  });
  loading.then(then, () => {});
}

export const hasMath = (raw) => /\$[^$\n]+\$|\$\$|\\\(|\\\[/.test(raw);
export const mathIsLoaded = () => Boolean(katex);

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escapeHtml = (text) => text.replace(/[&<>"]/g, (c) => escapes[c]);

function render({ text, raw, display }) {
  const source = `<code class="tex">${escapeHtml(raw.trim())}</code>`;
  if (!katex) return source;
  try {
    const html = katex.renderToString(text, { output: "mathml", displayMode: display,
      throwOnError: true, trust: false, maxSize: 20, maxExpand: 500, strict: "ignore" });
    // The sanitiser knows no <semantics>; the annotation would show the source a second time.
    const mathml = html.replace(/<annotation[^]*?<\/annotation>/g, "")
      .replace(/<\/?semantics>/g, "").replace(/^<span class="katex">|<\/span>$/g, "");
    return display ? `<div class="math" tabindex="0">${mathml}</div>` : mathml;
  } catch {
    return source;
  }
}

/** $$ … $$ and \[ … \] on lines of their own. */
export const blockMath = {
  name: "blockMath",
  level: "block",
  start: (source) => source.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
  tokenizer(source) {
    const found = /^ {0,3}(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    if (!found) return undefined;
    return { type: "blockMath", raw: found[0], text: (found[1] ?? found[2]).trim(), display: true };
  },
  renderer: render,
};

/** $ … $, \( … \) and the forms of a block inside a line. A dollar that stands before a blank, or is
 *  closed before a digit, is money; one before a backtick belongs to code. */
export const inlineMath = {
  name: "inlineMath",
  level: "inline",
  start: (source) => source.match(/\$|\\\(|\\\[/)?.index,
  tokenizer(source) {
    const found = /^(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\]|\\\(([^]+?)\\\))/.exec(source) ||
      /^\$((?:[^\s$`\\]|\\[^])(?:(?:[^$`\\\n]|\\[^])*?(?:[^\s$`\\]|\\[^]))?)\$(?![\d$])/.exec(source);
    if (!found) return undefined;
    const text = found.slice(1).find((part) => part !== undefined);
    return { type: "inlineMath", raw: found[0], text: text.trim(), display: false };
  },
  renderer: render,
};
