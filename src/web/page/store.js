// Owns the state of the page: all entries, and which of them the filters show. Notifies the views of changes, at most ten times a second.
// Does not own where states come from (live.js, older.js, uploads.js), nor how they look (list.js).
import { Entry, isOpen } from './entry.js';

const DRAW_INTERVAL = 100;
/** How many uploads of others stay that ended while the page was open: a page may be open for weeks. */
const MAX_ENDED = 1000;
const GROUPS = {
  all: () => true,
  open: ({ isEnded }) => !isEnded,
  stored: ({ status }) => status === 'stored',
  failed: ({ status }) => ['stopped', 'failed', 'aborted', 'expired'].includes(status),
  deleted: ({ status }) => status === 'deleted',
};

export class Store {
  entries = new Set();
  filter = 'all';
  search = '';
  /** The name that the server searches for, or null. */
  exactName = null;
  /** Whether older ended sessions can be loaded. */
  hasMore = false;
  #bySession = new Map();
  #creating = new Set(); // entries of this page that have no session yet
  #notices = new Map();
  #views = [];
  #isScheduled = false;
  #onEnd = [];
  #ended = []; // those that ended while the page was open, oldest first

  /** Calls `view` soon after each change. */
  onChange(view) { this.#views.push(view); }
  /** Calls `listener` with an entry whose session ends while the page is open. */
  onEnd(listener) { this.#onEnd.push(listener); }

  changed() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => requestAnimationFrame(() => {
      this.#isScheduled = false;
      for (const view of this.#views) view();
    }), DRAW_INTERVAL);
  }

  /** What the page says above the list. */
  get notice() { return [...this.#notices.values()].filter(Boolean).join(' '); }

  /** Replaces the notice from this source: 'connection', 'list' or 'files'. An empty text removes it. */
  notify(source, text) {
    this.#notices.set(source, text);
    this.changed();
  }

  find(sessionId) { return this.#bySession.get(sessionId); }

  /** Adds the entry of an upload of this page, which finds or creates its session. */
  add(entry) {
    this.entries.add(entry);
    this.#creating.add(entry);
    this.changed();
  }

  remove(entry) {
    this.entries.delete(entry);
    this.#creating.delete(entry);
    if (entry.session && this.#bySession.get(entry.session.sessionId) === entry) this.#bySession.delete(entry.session.sessionId);
    this.changed();
  }

  /** A state of a session. `isLive`: it has just changed. */
  apply(session, { isLive = true } = {}) {
    const entry = this.find(session.sessionId) ?? this.#entryFor(session);
    const before = entry.session;
    if (before && before.version > session.version) return entry;
    entry.session = session;
    entry.rate.add(session.bytesReceived);
    if (isLive && !entry.ended && !isOpen(session) && (!before || isOpen(before))) {
      entry.ended = Date.now();
      this.#ended.push(entry);
      if (this.#ended.length > MAX_ENDED) this.#drop(this.#ended.shift());
      if (before) for (const listener of this.#onEnd) listener(entry);
    }
    this.changed();
    return entry;
  }

  /** The upload of this entry has found or created this session. */
  bind(entry, sessionId) {
    this.#creating.delete(entry);
    const other = this.find(sessionId);
    if (other === entry) return;
    // The entry was matched with a session that its upload does not use: that session gets an entry of its own.
    if (entry.session) {
      const left = Object.assign(new Entry(), { session: entry.session });
      this.#bySession.set(left.session.sessionId, left);
      this.entries.add(left);
    }
    entry.session = other?.session ?? null;
    if (other) this.entries.delete(other);
    this.#bySession.set(sessionId, entry);
    this.changed();
  }

  #drop(entry) { if (!entry.upload) this.remove(entry); }

  /** Forgets the ended sessions that were loaded from the server, before others are loaded. */
  forgetLoaded() {
    for (const entry of this.entries) if (entry.isEnded && !entry.ended && !entry.upload) this.remove(entry);
  }

  /** The entries that the filters show: open ones and ended ones, each in the order of the list. */
  visible() {
    const wanted = this.search.trim().toLocaleLowerCase();
    const isShown = (entry) => GROUPS[this.filter](entry) && (this.exactName !== null
      ? entry.name.normalize() === this.exactName.normalize()
      : `${entry.folder}${entry.name}`.toLocaleLowerCase().includes(wanted));
    const [open, ended] = [[], []];
    for (const entry of this.entries) if (isShown(entry)) (entry.isEnded ? ended : open).push([rank(entry), timeOf(entry), entry]);
    const byRank = (a, b) => b[0] - a[0] || b[1] - a[1] || a[2].key - b[2].key;
    return { open: open.sort(byRank).map(([, , entry]) => entry), ended: ended.sort(byRank).map(([, , entry]) => entry) };
  }

  #entryFor(session) {
    const entry = this.#creatorOf(session) ?? new Entry();
    this.entries.add(entry);
    this.#creating.delete(entry);
    this.#bySession.set(session.sessionId, entry);
    return entry;
  }

  /** The entry whose upload is creating this session, as far as the page can tell before the answer. */
  #creatorOf(session) {
    if (session.status !== 'INIT') return undefined;
    const { originalFilename, metadata } = session.file;
    for (const entry of this.#creating) {
      if (entry.upload.state === 'finding' && entry.name === originalFilename && entry.size === session.totalSizeBytes
        && entry.path === (metadata.path ?? '')) return entry;
    }
    return undefined;
  }
}

/** Order: failures of this page, running uploads, waiting ones. Among ended ones, those that ended while the page was open come first. */
function rank({ status, ended, isEnded }) {
  if (isEnded) return ended ? 1 : 0;
  return status === 'stopped' ? 2 : status === 'waiting' ? 0 : 1;
}

const timeOf = ({ isEnded, ended, began, session, status }) =>
  (isEnded && ended) || (status === 'waiting' ? 0 : began || (session ? Date.parse(session.createdAt) : 0));
