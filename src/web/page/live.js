// Owns what arrives without asking: the states of all open sessions of the owner, or of the one session of a token for one upload.
// Does not own ended sessions from before; see history.js.
import { isOpen } from './entry.js';
import { messageOf } from './messages.js';

/** Follows the sessions until the page is left. */
export async function follow(partway, store, sessionId) {
  try {
    const states = sessionId ? partway.watch(sessionId) : watchAll(partway);
    for await (const session of states) store.apply(session);
  } catch (error) {
    store.notice = `The list does not follow changes any more: ${messageOf(error)} Load the page again to see them.`;
    store.changed();
  }
}

/** Stands in for `partway.watchAll()`. */
async function* watchAll(partway) {
  const open = new Map();
  for (;;) {
    const seen = new Set();
    for await (const session of partway.sessions({ open: true })) {
      seen.add(session.sessionId);
      if (open.get(session.sessionId) === session.version) continue;
      open.set(session.sessionId, session.version);
      yield session;
    }
    for (const id of open.keys()) {
      if (seen.has(id)) continue;
      const session = await partway.session(id);
      if (!isOpen(session)) open.delete(id);
      yield session;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
