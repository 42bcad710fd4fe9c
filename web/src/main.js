// The chat page: wires the conversation, the list of chats, the composer and the keys together.
import { $ } from "./dom.js";
import { fetchHealth, fetchModel, setApiKey } from "./api.js";
import { makeConversation } from "./conversation.js";
import { drawChats, startSidebar, toggleSidebar } from "./sidebar.js";
import { loadChat } from "./store.js";
import { startTheme } from "./theme.js";

const DRAFT = "wicara.draft";
const SMALL_MODEL_PARAMETERS = 1e9;

const conversation = makeConversation({
  saved: () => drawChats(actions),
  busy: (flag) => {
    $("send").hidden = flag;
    $("stop").hidden = !flag;
  },
  needKey: askForKey,
});

const actions = {
  current: () => conversation.id(),
  open: async (id) => {
    const chat = await loadChat(id);
    if (chat) conversation.show(chat);
    drawChats(actions);
  },
  start: () => {
    conversation.start();
    drawChats(actions);
    $("prompt").focus();
  },
};

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
  $("stop").addEventListener("click", () => {
    conversation.stop();
    $("prompt").focus();
  });
  fitPrompt();
}

function startKeys() {
  addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (event.key === "Escape" && conversation.busy()) conversation.stop();
    else if (event.ctrlKey && event.shiftKey && key === "o") actions.start();
    else if (event.ctrlKey && !event.shiftKey && key === "b") toggleSidebar();
    else return;
    event.preventDefault();
  });
}

function askForKey() {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  $("key").value = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "ok" && $("key").value) {
      setApiKey($("key").value.trim());
      describeModel();
    }
  }, { once: true });
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** Shows the model's name, and says so when it is a small one. */
async function describeModel() {
  try {
    const model = await fetchModel();
    if (!model) return;
    $("model").textContent = model.id;
    const parameters = model.meta?.n_params || 0;
    notice(parameters && parameters < SMALL_MODEL_PARAMETERS
      ? `${model.id} is a small demo model (${Math.round(parameters / 1e6)} million parameters): ` +
        "quick, but often wrong. Start the server with --model FILE to use a larger one."
      : "");
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
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  notice("");
  await describeModel();
}

startTheme();
startSidebar(actions);
startComposer();
startKeys();
actions.start();
waitForServer();
