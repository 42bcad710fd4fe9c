// A chat's messages as a tree, so that an edited question or a new answer stands beside the old one.
//
// A chat is {id, title, updated, messages, leaf}: `messages` in the order in which they were made, each
// with an `id` that is unique in the chat and the id of its `parent` (null for a first message);
// `leaf` is the id of the message at the end of the branch that is shown (null: nothing yet).
// Pure: nothing here knows the page.

const byId = (chat, id) => chat.messages.find((message) => message.id === id) || null;

/** Gives the messages of a chat from before branches existed, or from a stranger's file, a tree. */
export function growTree(chat) {
  let parent = null;
  for (const message of chat.messages) {
    if (message.id === undefined) {
      message.id = nextId(chat);
      message.parent = parent;
    }
    parent = message.id;
  }
  if (chat.leaf === undefined) chat.leaf = parent;
  return chat;
}

function nextId(chat) {
  return Math.max(0, ...chat.messages.map((message) => message.id ?? 0)) + 1;
}

/** The messages of the branch that is shown, first to last. */
export function branchOf(chat) {
  const branch = [];
  for (let message = byId(chat, chat.leaf); message; message = byId(chat, message.parent)) {
    branch.push(message);
  }
  return branch.reverse();
}

/** Adds a message at the end of the branch and shows it. */
export function addMessage(chat, message) {
  message.id = nextId(chat);
  message.parent = chat.leaf;
  chat.messages.push(message);
  chat.leaf = message.id;
  return message;
}

/** The message and its alternatives, oldest first. */
export const versionsOf = (chat, message) =>
  chat.messages.filter((other) => other.parent === message.parent);

/** Ends the branch above this message: what is added next becomes a version of it. */
export function cutBefore(chat, message) {
  chat.leaf = message.parent;
}

/** Shows another version of the message, with the branch below it that was talked on last. */
export function showVersion(chat, version) {
  const below = new Set([version.id]);
  for (const message of chat.messages) { // parents stand before their children
    if (!below.has(message.parent)) continue;
    below.add(message.id);
  }
  chat.leaf = Math.max(...below);
}
