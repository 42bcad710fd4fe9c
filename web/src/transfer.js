// Chats to a file and back: one JSON document {format, version, chats}. What is read is a stranger's:
// only known members are taken, each with its type and size.
import { h } from "./dom.js";
import { listChats, loadChat, saveChat } from "./store.js";
import { growTree } from "./tree.js";

const FORMAT = "wicara-chats";
const CHATS_MAX = 10000;
const MESSAGES_MAX = 10000;
const TEXT_MAX = 10 ** 7;

const isText = (value, max = TEXT_MAX) => typeof value === "string" && value.length <= max;
const isId = (value) => Number.isSafeInteger(value) && value > 0;

/** Puts all chats into a file that the browser saves; their number. */
export async function exportChats() {
  const chats = await listChats();
  const text = JSON.stringify({ format: FORMAT, version: 1, chats }, null, 1);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const day = new Date().toISOString().slice(0, 10);
  h("a", { href: url, download: `wicara-chats-${day}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  return chats.length;
}

function cleanMessage(message) {
  if (!message || !["user", "assistant"].includes(message.role) || !isText(message.content)) {
    throw new Error("it has a message that is none");
  }
  const clean = { role: message.role, content: message.content };
  if (isId(message.id) && (message.parent === null || isId(message.parent))) {
    Object.assign(clean, { id: message.id, parent: message.parent });
  }
  for (const name of ["reasoning", "error", "rate", "model"]) {
    if (isText(message[name])) clean[name] = message[name];
  }
  for (const name of ["stopped", "cut", "open"]) if (message[name] === true) clean[name] = true;
  if (Number.isFinite(message.thought_ms)) clean.thought_ms = message.thought_ms;
  if (Array.isArray(message.calls)) {
    clean.calls = message.calls.filter((call) => isText(call?.name) && isText(call?.arguments))
      .map((call) => ({ name: call.name, arguments: call.arguments }));
  }
  return clean;
}

function cleanChat(chat) {
  if (!isText(chat?.id, 100) || !isText(chat.title, 1000) || !Number.isFinite(chat.updated) ||
      !Array.isArray(chat.messages) || chat.messages.length > MESSAGES_MAX) {
    throw new Error("it has a chat that is none");
  }
  const messages = chat.messages.map(cleanMessage);
  const ids = new Set();
  for (const { id, parent } of messages) { // a parent stands before its children: no circles
    if (id !== undefined && (ids.has(id) || (parent !== null && !ids.has(parent)))) {
      throw new Error("its messages do not hang together");
    }
    if (id !== undefined) ids.add(id);
  }
  const clean = { id: chat.id, title: chat.title, updated: chat.updated, messages };
  if (ids.has(chat.leaf)) clean.leaf = chat.leaf;
  return growTree(clean);
}

/** Takes the chats of a file; of a chat that is here already the later one stays.
 *  Returns how many came in; throws Error with a reason to show. */
export async function importChats(file) {
  let document;
  try {
    document = JSON.parse(await file.text());
  } catch {
    throw new Error("it is no JSON");
  }
  if (document?.format !== FORMAT || document.version !== 1 || !Array.isArray(document.chats) ||
      document.chats.length > CHATS_MAX) {
    throw new Error("it is no export of this page");
  }
  const chats = document.chats.map(cleanChat);
  let taken = 0;
  for (const chat of chats) {
    const here = await loadChat(chat.id);
    if (here && here.updated >= chat.updated) continue;
    await saveChat(chat);
    taken += 1;
  }
  return taken;
}
