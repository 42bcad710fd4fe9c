// The settings panel: system prompt and sampling, kept in localStorage. An empty field means the
// server's own default, so that nothing is sent that the reader did not ask for.
import { $ } from "./dom.js";

const KEY = "wicara.settings";

// name of the field's element and of the request's parameter, range
const numbers = [
  { id: "set-temperature", param: "temperature", min: 0, max: 2 },
  { id: "set-top-p", param: "top_p", min: 0.01, max: 1 },
  { id: "set-max-tokens", param: "max_completion_tokens", min: 1, max: 1048576, whole: true },
  { id: "set-seed", param: "seed", min: 0, max: Number.MAX_SAFE_INTEGER, whole: true },
];

function readStored() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY)) || {};
    const clean = { system: typeof stored.system === "string" ? stored.system : "", params: {} };
    for (const { param, min, max, whole } of numbers) {
      const value = stored.params?.[param];
      if (typeof value === "number" && value >= min && value <= max &&
          (!whole || Number.isInteger(value))) clean.params[param] = value;
    }
    return clean;
  } catch {
    return { system: "", params: {} };
  }
}

let current = readStored();

/** {system, params}: the system prompt ("" = none) and the parameters that were set. */
export const settings = () => current;

function fill() {
  $("set-system").value = current.system;
  for (const { id, param } of numbers) $(id).value = current.params[param] ?? "";
}

function take() {
  current = { system: $("set-system").value.trim(), params: {} };
  for (const { id, param } of numbers) {
    if ($(id).value !== "" && $(id).checkValidity()) current.params[param] = Number($(id).value);
  }
  localStorage.setItem(KEY, JSON.stringify(current));
}

export function startSettings() {
  const dialog = $("settings-dialog");
  for (const { id, min, max, whole } of numbers) {
    Object.assign($(id), { min, max, step: whole ? 1 : "any" });
  }
  const mark = () => $("open-settings").classList.toggle("set",
    Boolean(current.system || Object.keys(current.params).length));
  $("open-settings").addEventListener("click", () => {
    fill();
    dialog.returnValue = "";
    dialog.showModal();
  });
  $("settings-cancel").addEventListener("click", () => dialog.close());
  $("settings-reset").addEventListener("click", () => {
    for (const field of dialog.querySelectorAll("input, textarea")) field.value = "";
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "ok") take();
    mark();
  });
  mark();
}
