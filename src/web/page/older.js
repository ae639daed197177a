// Owns the ended sessions that are loaded a page at a time, and the search by exact name.
// Does not own open sessions; see live.js.
import { isOpen } from './entry.js';
import { messageOf } from './messages.js';

const FIRST = 20;
/** The server cannot filter by the state of the file, so a page may take many sessions; then the user decides. */
const MAX_READ = 500;

export class Older {
  #partway;
  #store;
  #sessions = null;

  constructor(partway, store) {
    this.#partway = partway;
    this.#store = store;
  }

  /** Begins with the newest sessions that the filter or the exact name in the store asks for. */
  async begin() {
    this.#store.forgetLoaded();
    this.#sessions = this.#list();
    this.#store.hasMore = true;
    await this.more(FIRST);
  }

  /** Loads this many more. */
  async more(count) {
    const sessions = this.#sessions;
    if (!this.#store.hasMore || !sessions) return;
    this.#store.notify('list', '');
    try {
      for (let [found, read] = [0, 0]; found < count && read < MAX_READ; read += 1) {
        const { value: session, done } = await sessions.next();
        // The filter was changed meanwhile.
        if (this.#sessions !== sessions) return;
        if (done) { this.#store.hasMore = false; break; }
        if (!this.#isWanted(session)) continue;
        if (!this.#store.find(session.sessionId)) found += 1;
        this.#store.apply(session, { isLive: false });
      }
    } catch (error) {
      if (this.#sessions !== sessions) return;
      this.#sessions = this.#list(); // A generator that has failed is finished.
      this.#store.notify('list', `The list cannot be loaded: ${messageOf(error)}`);
    }
    this.#store.changed();
  }

  #list() {
    const { filter, exactName } = this.#store;
    const list = (filters) => this.#partway.sessions(filters);
    if (exactName !== null) return list({ name: exactName });
    switch (filter) {
      case 'open': return (async function* none() {})(); // Open sessions come by themselves.
      case 'stored': case 'deleted': return list({ status: 'COMPLETE' });
      case 'failed': return newestFirst(list({ status: 'FAILED' }), list({ status: 'ABORTED' }));
      default: return list({ open: false });
    }
  }

  #isWanted(session) {
    const { filter, exactName } = this.#store;
    const isStored = session.file.status === 'STORED';
    if (exactName !== null || isOpen(session)) return true;
    return filter === 'stored' ? isStored : filter === 'deleted' ? !isStored : true;
  }
}

/** Two lists as one. */
async function* newestFirst(...lists) {
  const heads = await Promise.all(lists.map((list) => list.next()));
  for (;;) {
    const newest = heads.reduce((best, head, index) => (head.done || (best >= 0 && heads[best].value.createdAt >= head.value.createdAt) ? best : index), -1);
    if (newest < 0) return;
    yield heads[newest].value;
    heads[newest] = await lists[newest].next();
  }
}
