// The list of chats: open, start, delete; a drawer on small screens.
import { $, h } from "./dom.js";
import { deleteChat, listChats } from "./store.js";

const small = matchMedia("(max-width: 760px)");

function setOpen(open) {
  document.body.classList.toggle("sidebar-open", open);
  $("open-sidebar").setAttribute("aria-expanded", String(open));
  $("sidebar").inert = !open;
}

export function toggleSidebar() {
  setOpen(!document.body.classList.contains("sidebar-open"));
}

function closeOnSmall() {
  if (small.matches) setOpen(false);
}

/** Draws the list again. actions: {open(id), start(), current()}. */
export async function drawChats(actions) {
  const chats = await listChats();
  const items = chats.map((chat) =>
    h("li", {},
      h("button", {
        type: "button", class: "chat", "aria-current": chat.id === actions.current() ? "page" : null,
        onclick: () => { closeOnSmall(); actions.open(chat.id); },
      }, chat.title),
      h("button", {
        type: "button", class: "icon", "aria-label": `Delete ${chat.title}`,
        onclick: async () => {
          if (!confirm(`Delete the chat "${chat.title}"?`)) return;
          await deleteChat(chat.id);
          if (chat.id === actions.current()) actions.start();
          drawChats(actions);
        },
      }, "✕")));
  $("chat-list").replaceChildren(...items);
}

export function startSidebar(actions) {
  $("open-sidebar").addEventListener("click", toggleSidebar);
  $("close-sidebar").addEventListener("click", () => setOpen(false));
  $("shade").addEventListener("click", () => setOpen(false));
  $("new-chat").addEventListener("click", () => { closeOnSmall(); actions.start(); });
  small.addEventListener("change", () => setOpen(!small.matches));
  setOpen(!small.matches);
}
