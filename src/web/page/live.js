// Owns what arrives without asking: the states of all open sessions of the owner, or of the one session of a token for one upload.
// Does not own ended sessions from before; see older.js.
import { messageOf } from './messages.js';

const AWAY = 'The server cannot be reached. The list will update when it is back.';

/** Follows the sessions until the page is left. */
export async function follow(partway, store, sessionId) {
  const onConnection = (error) => store.notify('connection', error ? waitingText(error) : '');
  try {
    const states = sessionId ? partway.watch(sessionId, { onConnection }) : partway.watchAll({ onConnection });
    for await (const session of states) store.apply(session);
  } catch (error) {
    store.notify('connection', `The list no longer updates: ${messageOf(error)} Reload the page.`);
  }
}

const waitingText = (error) => (error.code === 'NO_ANSWER' ? AWAY : `The list is not up to date. ${messageOf(error)}`);
