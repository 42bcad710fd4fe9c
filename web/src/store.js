// Chats in the browser's IndexedDB: one record a chat, {id, title, updated, messages}.

const NAME = "wicara";
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("chats", { keyPath: "id" }).createIndex("updated", "updated");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run(mode, action) {
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
  const chats = await run("readonly", (store) => store.index("updated").getAll());
  return chats.reverse();
}

export const loadChat = (id) => run("readonly", (store) => store.get(id));
export const saveChat = (chat) => run("readwrite", (store) => store.put(chat));
export const deleteChat = (id) => run("readwrite", (store) => store.delete(id));
