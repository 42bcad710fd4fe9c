// Chats in the browser's IndexedDB: one record a chat, {id, title, updated, messages}. Where the
// browser refuses that (some private windows), they live in memory as long as the tab.

const NAME = "wicara";
const memory = new Map();
const deleted = new Set(); // an answer that still streams must not bring its chat back
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      const chats = request.result.createObjectStore("chats", { keyPath: "id" });
      chats.createIndex("updated", "updated");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** False when chats end with the tab. */
export const chatsAreKept = () => open().then(() => true, () => false);

async function run(mode, action, inMemory) {
  if (!(await chatsAreKept())) return inMemory();
  const db = await open();
  return new Promise((resolve, reject) => {
    const transaction = db.transaction("chats", mode);
    const request = action(transaction.objectStore("chats"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** All chats, newest first. */
export async function listChats() {
  const chats = await run("readonly", (store) => store.index("updated").getAll(),
    () => [...memory.values()].sort((a, b) => a.updated - b.updated));
  return chats.reverse();
}

export const loadChat = (id) => run("readonly", (store) => store.get(id),
  () => structuredClone(memory.get(id)));

export async function saveChat(chat) {
  if (deleted.has(chat.id)) return;
  await run("readwrite", (store) => store.put(chat),
    () => memory.set(chat.id, structuredClone(chat)));
}

export async function deleteChat(id) {
  deleted.add(id);
  await run("readwrite", (store) => store.delete(id), () => memory.delete(id));
}
