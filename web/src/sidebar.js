// The list of chats: open, start, delete; a drawer on small screens.
import { $, h, icon } from "./dom.js";
import { chatsAreKept, deleteChat, listChats } from "./store.js";

const small = matchMedia("(max-width: 760px)");
const isOpen = () => document.body.classList.contains("sidebar-open");

function setOpen(open) {
  const hadFocus = $("sidebar").contains(document.activeElement);
  document.body.classList.toggle("sidebar-open", open);
  $("open-sidebar").setAttribute("aria-expanded", String(open));
  $("sidebar").inert = !open;
  $("page").inert = open && small.matches; // the drawer lies over the page
  if (open && small.matches) $("close-sidebar").focus();
  else if (!open && hadFocus) $("open-sidebar").focus();
}

export function toggleSidebar() {
  setOpen(!isOpen());
}

/** Closes the list where it lies over the conversation; true if it did. */
export function closeDrawer() {
  if (!small.matches || !isOpen()) return false;
  setOpen(false);
  return true;
}

async function remove(chat, actions) {
  if (!confirm(`Delete the chat "${chat.title}"?`)) return;
  await deleteChat(chat.id);
  if (chat.id === actions.current()) actions.start();
  else await drawChats(actions);
  $("new-chat").focus();
}

function drawItem(chat, actions) {
  const current = chat.id === actions.current();
  return h("li", { class: current ? "current" : null },
    h("button", {
      type: "button", class: "chat", title: chat.title, "aria-current": current ? "page" : null,
      onclick: () => { closeDrawer(); actions.open(chat.id); },
    }, chat.title),
    h("button", {
      type: "button", class: "icon", title: "Delete", "aria-label": `Delete ${chat.title}`,
      onclick: () => remove(chat, actions),
    }, icon("trash")));
}

/** Draws the list again. actions: {open(id), start(), current()}. */
export async function drawChats(actions) {
  const chats = await listChats();
  $("chat-list").replaceChildren(...chats.map((chat) => drawItem(chat, actions)));
}

export async function startSidebar(actions) {
  $("open-sidebar").addEventListener("click", toggleSidebar);
  $("close-sidebar").addEventListener("click", () => setOpen(false));
  $("shade").addEventListener("click", () => setOpen(false));
  $("new-chat").addEventListener("click", () => { closeDrawer(); actions.start(); });
  small.addEventListener("change", () => setOpen(!small.matches));
  setOpen(!small.matches);
  $("storage-note").hidden = await chatsAreKept();
}
