// The chat page: wires the conversation, the list of chats, the composer and the keys together.
import { $ } from "./dom.js";
import { fetchHealth, fetchModel, setApiKey } from "./api.js";
import { makeConversation } from "./conversation.js";
import { closeDrawer, drawChats, startSidebar, toggleSidebar } from "./sidebar.js";
import { settings, startSettings } from "./settings.js";
import { loadChat } from "./store.js";
import { startTheme } from "./theme.js";
import { exportChats, importChats } from "./transfer.js";

const DRAFT = "wicara.draft";
const ADDRESS = "#chat="; // the address names the open chat, so that a reload comes back to it
const SMALL_MODEL_PARAMETERS = 1e9;
const DEMO_MODEL_PARAMETERS = 3e8;
const HEALTH_EVERY_MS = 1000;

// At the API's default temperature a very small model rambles; these are its makers' settings.
// Larger models get the server's defaults.
const SMALL_MODEL_SAMPLING = { temperature: 0.2, top_p: 0.9 };
let sampling = {};

const setAddress = (hash) => history.replaceState(null, "", location.pathname + hash);

const conversation = makeConversation({
  changed: (chat) => {
    if (chat.id === conversation.id()) setAddress(ADDRESS + chat.id);
    drawChats(actions);
  },
  busy: (flag) => {
    const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
    $("send").hidden = flag;
    $("stop").hidden = !flag;
    $("messages").setAttribute("aria-busy", String(flag));
    if (hadFocus) focusPrompt();
  },
  needKey: askForKey,
  sampling: () => ({ ...sampling, ...settings().params }),
  system: () => settings().system,
});

const actions = {
  current: () => conversation.id(),
  open: async (id) => {
    if (id === conversation.id()) return;
    const chat = await loadChat(id);
    if (!chat) return;
    conversation.show(chat);
    setAddress(ADDRESS + id);
    drawChats(actions);
  },
  start: () => {
    conversation.start();
    setAddress("");
    drawChats(actions);
    $("prompt").focus();
  },
};

/** Back to typing; on a touch screen that would only raise the keyboard over the answer. */
function focusPrompt() {
  if (matchMedia("(pointer: coarse)").matches) $("messages").focus({ preventScroll: true });
  else $("prompt").focus();
}

function fitPrompt() {
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
}

function submit() {
  const text = $("prompt").value;
  if (conversation.busy() || !text.trim()) return;
  $("prompt").value = "";
  localStorage.removeItem(DRAFT);
  fitPrompt();
  conversation.send(text);
}

function startComposer() {
  $("prompt").value = localStorage.getItem(DRAFT) || "";
  $("prompt").addEventListener("input", () => {
    localStorage.setItem(DRAFT, $("prompt").value);
    fitPrompt();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("stop").addEventListener("click", conversation.stop);
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address belongs to the chat
    $("prompt").focus();
  });
  addEventListener("resize", fitPrompt);
  fitPrompt();
}

function startKeys() {
  addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    const control = event.ctrlKey || event.metaKey;
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (key === "escape") {
      if (!closeDrawer()) conversation.stop();
    } else if (control && event.shiftKey && key === "o") actions.start();
    else if (control && !event.shiftKey && key === "b") toggleSidebar();
    else return;
    event.preventDefault();
  });
}

function askForKey() {
  if ($("key-dialog").open) return;
  $("key").value = "";
  $("key-dialog").returnValue = "";
  $("key-dialog").showModal();
}

function startKeyDialog() {
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("key-dialog").addEventListener("close", () => {
    const key = $("key").value.trim();
    $("key").value = "";
    if ($("key-dialog").returnValue !== "ok" || !key) {
      notice("This server asks for an API key. Reload the page to enter one.");
      return;
    }
    setApiKey(key);
    describeModel();
  });
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** Export and import below the list of chats. */
function startTransfer() {
  const failed = (what) => (error) => notice(`The ${what} failed: ${error.message}.`);
  const count = (n) => (n === 1 ? "1 chat" : `${n} chats`);
  $("export").addEventListener("click", () => {
    exportChats().then((n) => notice(`Exported ${count(n)}.`), failed("export"));
  });
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", () => {
    const file = $("import-file").files[0];
    $("import-file").value = "";
    if (!file) return;
    importChats(file).then((n) => {
      notice(n ? `Imported ${count(n)}.` : "All chats of this file are here already.");
      drawChats(actions);
    }, failed("import"));
  });
}

/** Shows the model's name, and says so when it is a small one. */
async function describeModel() {
  try {
    const model = await fetchModel();
    if (!model) return;
    const parameters = model.meta?.n_params || 0;
    const small = parameters > 0 && parameters < SMALL_MODEL_PARAMETERS;
    const kind = parameters < DEMO_MODEL_PARAMETERS ? "small demo model" : "small model";
    $("model").textContent = model.id;
    $("model").title = `The loaded model: ${model.id}`;
    sampling = small ? SMALL_MODEL_SAMPLING : {};
    notice(!small ? "" : `A ${kind} (${Math.round(parameters / 1e6)} million parameters): quick, ` +
      "but often wrong. Start the server with -hf ORG/REPO or --model FILE for a larger one.");
  } catch (error) {
    if (error.status === 401) askForKey();
    else notice(error.message);
  }
}

async function waitForServer() {
  for (;;) {
    const health = await fetchHealth();
    if (health === "ready") break;
    notice(health === "loading" ? "The model is loading …" : "The server cannot be reached.");
    await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
  }
  notice("");
  await describeModel();
}

const wanted = location.hash.startsWith(ADDRESS) ? location.hash.slice(ADDRESS.length) : "";
startTheme();
startSidebar(actions);
startComposer();
startKeyDialog();
startSettings();
startTransfer();
startKeys();
actions.start();
if (wanted) actions.open(wanted);
waitForServer();
