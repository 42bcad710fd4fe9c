// Colours: follow the system, or fixed light or dark; kept in localStorage.
import { $, icon } from "./dom.js";

const KEY = "wicara.theme";
const order = ["system", "light", "dark"];

function apply(theme) {
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  $("theme").replaceChildren(icon(theme));
  $("theme").setAttribute("aria-label", `Colours: ${theme}`);
  $("theme").title = `Colours: ${theme}`;
}

export function startTheme() {
  let theme = localStorage.getItem(KEY);
  if (!order.includes(theme)) theme = "system";
  apply(theme);
  $("theme").addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    localStorage.setItem(KEY, theme);
    apply(theme);
  });
}
