// Owns the uploads of this page: begins them, and pauses, resumes, retries and aborts them.
// Does not own how bytes are sent (clients/js), nor where files come from (drop.js).
import { Entry, isOpen } from './entry.js';
import { messageOf } from './messages.js';

const keyOf = ({ name, size, lastModified }, path) => JSON.stringify([path || name, size, lastModified]);

export class Uploads {
  #partway;
  #store;
  #say;
  // Name, size and time of a file -> the entry of its latest upload.
  #added = new Map();

  constructor(partway, store, announcer) {
    this.#partway = partway;
    this.#store = store;
    this.#say = (text) => announcer.say(text);
  }

  get running() { return [...this.#store.entries].filter(({ isRunning }) => isRunning); }

  /** Uploads a file, unless this page does so already; tries again if that has failed. `path` is that in the chosen folder. */
  add(file, path = '') {
    const key = keyOf(file, path);
    const known = this.#added.get(key);
    if (known?.isRunning) return;
    if (known?.status === 'stopped' && this.#store.entries.has(known)) {
      known.file = file;
      return this.retry(known);
    }
    const entry = Object.assign(new Entry(), { file, path });
    this.#added.set(key, entry);
    this.#start(entry, { metadata: path ? { path } : undefined });
    this.#store.add(entry);
  }

  /** Continues a session with the file that the user has chosen for it. */
  continue(entry, file) {
    const { session } = entry;
    const isSameName = file.name.normalize() === session.file.originalFilename.normalize();
    // Without any bytes on the server, only the name can tell.
    if (file.size !== session.totalSizeBytes || (session.bytesReceived === 0 && !isSameName)) {
      return this.#refuse(entry, file);
    }
    entry.file = file;
    this.#start(entry, { sessionId: session.sessionId });
    this.#store.changed();
  }

  pause({ upload, title }) {
    upload.pause();
    this.#say(`${title} is paused.`);
  }

  resume({ upload }) { upload.resume(); }

  /** Tries at once what waits for its next attempt, and begins again what has failed. */
  retry(entry) {
    if (entry.isRunning) {
      entry.upload.pause();
      entry.upload.resume();
      entry.retry = null;
    } else {
      const { session, path } = entry;
      const isContinued = session && isOpen(session);
      this.#start(entry, isContinued ? { sessionId: session.sessionId } : { metadata: path ? { path } : undefined });
    }
    this.#store.changed();
  }

  /** Ends the upload, here and on the server. */
  async abort(entry) {
    const { upload } = entry;
    if (upload) await upload.abort({ session: true });
    const id = entry.sessionId;
    if (!id) return this.#store.remove(entry);
    this.#store.bind(entry, id);
    if (!upload || upload.state !== 'aborted') await this.#partway.abort(id);
    entry.upload = null;
    this.#store.apply(await this.#partway.session(id));
  }

  /** Computes the rates anew: without progress, no event does. */
  refresh() {
    for (const entry of this.running) if (entry.progress) entry.progress = entry.upload.progress;
    this.#store.changed();
  }

  /** Stops all, and leaves the sessions on the server. */
  leave() { for (const { upload } of this.running) upload.abort(); }

  #start(entry, options) {
    const upload = this.#partway.upload(entry.file, options);
    Object.assign(entry, { upload, progress: null, retry: null, note: null });
    const isCurrent = () => entry.upload === upload;
    const changed = () => {
      if (!isCurrent()) return;
      if (upload.state !== 'waiting') entry.began ||= Date.now();
      if (upload.sessionId) this.#store.bind(entry, upload.sessionId);
      this.#store.changed();
    };
    upload.on('state', () => { entry.moved = Date.now(); changed(); });
    upload.on('progress', (progress) => {
      if (isCurrent()) {
        if (progress.bytesSent !== entry.progress?.bytesSent) entry.moved = Date.now();
        Object.assign(entry, { progress, retry: null });
      }
      changed();
    });
    upload.on('retry', ({ error, wait }) => { if (isCurrent()) entry.retry = { error, at: Date.now() + wait }; changed(); });
    upload.then(
      (stored) => { if (isCurrent()) this.#done(entry, stored); },
      (error) => { if (isCurrent() && upload.state === 'failed') this.#failed(entry, error); },
    );
  }

  #done(entry, stored) {
    if (!entry.ended) this.#say(`${entry.title} is stored.`);
    Object.assign(entry, { stored, file: null, ended: entry.ended || Date.now() });
    this.#store.changed();
  }

  #failed(entry, error) {
    if (error.code === 'DIFFERENT_FILE' && entry.session) return this.#refuse(entry, entry.file);
    entry.note = { text: messageOf(error), isError: true };
    if (!entry.ended) this.#say(`${entry.title} failed: ${messageOf(error)}`);
    this.#store.changed();
  }

  /** The chosen file is not that of the session, which stays as it is. */
  #refuse(entry, { name }) {
    Object.assign(entry, { upload: null, file: null, progress: null });
    entry.note = { text: `${name}: ${messageOf({ code: 'DIFFERENT_FILE' })}`, isError: true };
    this.#say(entry.note.text);
    this.#store.changed();
  }
}
