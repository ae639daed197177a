// Owns the methods that an application calls, and what all uploads of a client share.
// Does not own how an upload works; see upload.js and transfer.js.
import { Digests } from './digest.js';
import { Http } from './http.js';
import { newSession } from './model.js';
import { RetryBudget, retrying } from './retry.js';
import { Slots } from './slots.js';
import { Upload } from './upload.js';
import { watch, watchAll } from './watch.js';

/** Requests outside an upload are for somebody who waits for the answer. */
const RETRY_FOR = 10_000;

const session = (id) => `/uploads/sessions/${encodeURIComponent(id)}`;
const file = (id) => `/files/${encodeURIComponent(id)}`;

export class Partway {
  #http;
  #shared;

  /** @param {{ url: string | URL, token: string | (() => string | Promise<string>), uploads?: number }} options */
  constructor({ url, token, uploads = 4 }) {
    this.#http = new Http(url, token);
    this.#shared = { http: this.#http, digests: new Digests(), slots: new Slots(uploads) };
  }

  /** Uploads a file. The result is a promise of the stored file, with events, pause, resume and abort. */
  upload(source, options) { return new Upload(this.#shared, source, options); }

  /** Creates a session without sending anything, for a page or a device that sends the bytes. */
  createSession({ signal, ...fields }) { return this.#json('POST', '/uploads/sessions', { body: newSession(fields), signal }); }

  /** The sessions, newest first. */
  sessions({ status, open, name, size, signal } = {}) {
    return this.#list('/uploads/sessions', 'sessions', { status, open, original_filename: name, total_size_bytes: size }, signal);
  }

  session(id, options) { return this.#json('GET', session(id), options); }

  /** The states of a session, from now until it has ended. */
  watch(id, options) { return watch(this.#http, id, options); }

  /** The states of all sessions: those of the open ones, then each new one of any session. After a break, a state may come twice. */
  watchAll(options) { return watchAll(this.#http, options); }

  /** What has happened, oldest first, until now. The `id` of the last event continues there later, as `after`. */
  async *events({ after, signal } = {}) {
    for (;;) {
      const page = await this.#json('GET', `/events?${query({ after, limit: 1000 })}`, { signal });
      if (page.events.length === 0) return;
      yield* page.events;
      after = page.next;
    }
  }

  /** The bytes of a stored file. `range` has the first and the last byte. */
  download(id, { range, signal } = {}) {
    const headers = range && { Range: `bytes=${range[0]}-${range[1] ?? ''}` };
    return this.#retrying(() => this.#http.response('GET', `${file(id)}/content`, { headers, signal }), signal);
  }

  /** The records of the files, newest first. */
  files({ status, name, signal } = {}) { return this.#list('/files', 'files', { status, original_filename: name }, signal); }

  /** The record of a file. */
  file(id, options) { return this.#json('GET', file(id), options); }
  /** The record of a stored file, with its SHA-256. The server reads the file if it does not know that yet. */
  computeSha256(id, options) { return this.#json('POST', `${file(id)}/sha256`, options); }
  deleteFile(id, options) { return this.#json('DELETE', file(id), options); }

  /** A URL that reads the content of this file until it expires, for `<a>` and `<video>`, which cannot send a token. */
  createDownloadLink(id, { expiresIn, signal } = {}) {
    return this.#json('POST', `${file(id)}/links`, { body: { expires_in: expiresIn }, signal });
  }

  /** Aborts a session: the server frees its bytes. */
  abort(id, options) { return this.#json('DELETE', session(id), options); }
  finalize(id, { sha256, crc64nvme, compositeSha256, signal } = {}) {
    const body = { sha256, crc64nvme, composite_sha256: compositeSha256 };
    return this.#json('POST', `${session(id)}/finalize`, { body, signal });
  }

  /** Who the token is for, and what they use. */
  me(options) { return this.#json('GET', '/me', options); }
  limits(options) { return this.#json('GET', '/uploads/limits', options); }

  /** A token for this session only, for a page or a device that must not see anything else. */
  createUploadToken(id, { expiresIn, signal } = {}) {
    return this.#json('POST', `${session(id)}/tokens`, { body: { expires_in: expiresIn }, signal });
  }

  async *#list(path, name, filters, signal) {
    for (let after; after !== null;) {
      const page = await this.#json('GET', `${path}?${query({ ...filters, after, limit: 100 })}`, { signal });
      yield* page[name];
      after = page.next;
    }
  }

  #json(method, path, { body, signal } = {}) {
    return this.#retrying(() => this.#http.json(method, path, { body, signal }), signal);
  }

  #retrying(work, signal) { return retrying(work, { signal, budget: new RetryBudget(RETRY_FOR) }); }
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined));
