// The few DOM helpers that all files share.

export const $ = (id) => document.getElementById(id);

/** Builds an element: h("button", {type: "button", onclick}, "Text", child …); null is no child. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** The clipboard API exists on HTTPS and localhost only; a phone in the LAN has neither. */
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = h("textarea", { class: "visually-hidden", readonly: true });
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  if (!done) throw new Error("the browser refused");
}

/** A button that copies what text() gives and says whether that went well. */
export function copyButton(text) {
  const button = h("button", { type: "button", onclick: async () => {
    button.textContent = await copyText(text()).then(() => "Copied", () => "Not copied");
    setTimeout(() => (button.textContent = "Copy"), 1500);
    button.focus();
  } }, "Copy");
  return button;
}
