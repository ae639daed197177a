// Owns the buttons of a row: which there are in which status, and what they do.
// Does not own how they look; see row.js.
import { linkToUpload } from './credentials.js';
import { isOpen } from './entry.js';
import { formatBytes, formatTime } from './format.js';
import { messageOf } from './messages.js';

/** The actions in the order of the buttons. */
export const ACTIONS = ['toggle', 'retry', 'choose', 'store', 'download', 'copy', 'share', 'abort', 'remove', 'delete'];
const LABELS = {
  retry: 'Retry', choose: 'Choose the file to continue', store: 'Store', download: 'Download', copy: 'Copy link', share: 'Continue on another device',
  abort: 'Abort', remove: 'Remove from the list', delete: 'Delete',
};
/** Actions that need the owner's token. */
const OWNER_ONLY = new Set(['download', 'copy', 'share', 'abort', 'delete']);
/** How long a row says that its link was copied. */
const NOTE_LIFETIME = 15_000;
const LINK_LIFETIME = '1h';

export const labelOf = (action, { status }) => (action === 'toggle' ? (status === 'paused' ? 'Resume' : 'Pause') : LABELS[action]);

export class Actions {
  #partway;
  #store;
  #uploads;
  #dialogs;
  #announcer;
  #chooseFile;
  #isOwner;

  constructor({ partway, store, uploads, dialogs, announcer, chooseFile, isOwner }) {
    this.#partway = partway;
    this.#store = store;
    this.#uploads = uploads;
    this.#dialogs = dialogs;
    this.#announcer = announcer;
    this.#chooseFile = chooseFile;
    this.#isOwner = isOwner;
  }

  /** The actions that an entry has. */
  of(entry) {
    const actions = this.#all(entry);
    return this.#isOwner ? actions : actions.filter((action) => !OWNER_ONLY.has(action));
  }

  #all({ status, session, retry, isRunning, isComplete }) {
    const isOnServer = session !== null && isOpen(session);
    if (isRunning) return ['toggle', ...(retry && status !== 'paused' ? ['retry'] : []), ...(isOnServer ? ['share'] : []), 'abort'];
    if (status === 'stopped') return ['retry', ...(isOnServer ? ['choose', 'abort'] : ['remove'])];
    if (isComplete) return ['store', 'abort'];
    if (status === 'open') return ['choose', 'share', 'abort'];
    return status === 'stored' ? ['download', 'copy', 'delete'] : [];
  }

  /** Does it, and shows on the row what went wrong. */
  async run(action, entry) {
    entry.note = null;
    try {
      await this[action](entry);
    } catch (error) {
      this.#note(entry, { text: messageOf(error), isError: true });
    }
    this.#store.changed();
  }

  toggle(entry) {
    if (entry.status === 'paused') this.#uploads.resume(entry);
    else this.#uploads.pause(entry);
  }

  retry(entry) { this.#uploads.retry(entry); }

  async choose(entry) {
    const file = await this.#chooseFile();
    if (file) this.#uploads.continue(entry, file);
  }

  async store({ sessionId }) {
    await this.#partway.finalize(sessionId);
    this.#store.apply(await this.#partway.session(sessionId));
  }

  async download({ fileId, name }) {
    // By this page's own address, so that the browser saves the file and stays on the page.
    const { search } = new URL((await this.#partway.createDownloadLink(fileId)).url, location.href);
    const link = document.createElement('a');
    Object.assign(link, { href: `files/${fileId}/content${search}`, download: name });
    link.click();
  }

  async copy(entry) {
    const { url, expiresAt } = await this.#partway.createDownloadLink(entry.fileId, { expiresIn: LINK_LIFETIME });
    await this.#copyOrShow(entry, new URL(url, location.href).href, `Anyone with the link can download the file until ${formatTime(expiresAt)}.`);
  }

  async share(entry) {
    const { token, expiresAt } = await this.#partway.createUploadToken(entry.sessionId, { expiresIn: LINK_LIFETIME });
    const text = `Open the link on the other device and choose the file there. The link allows only this upload, until ${formatTime(expiresAt)}.`;
    await this.#copyOrShow(entry, linkToUpload(token, entry.sessionId), text);
  }

  async abort(entry) {
    const received = Math.max(entry.received, entry.progress?.bytesConfirmed ?? 0);
    const loss = received > 0 ? `the server deletes the ${formatBytes(received)} that it has received` : 'nothing has been received yet';
    const isSure = await this.#dialogs.ask({
      title: 'Abort this upload?', text: `${entry.title}: ${loss}. The upload cannot be continued.`, yes: 'Abort upload', no: 'Keep it',
    });
    if (isSure) await this.#uploads.abort(entry);
  }

  remove(entry) { this.#store.remove(entry); }

  async delete(entry) {
    const text = `${entry.title} (${formatBytes(entry.size)}) will be deleted from the server. This cannot be undone.`;
    if (!await this.#dialogs.ask({ title: 'Delete this file?', text, yes: 'Delete file', no: 'Keep it' })) return;
    await this.#partway.deleteFile(entry.fileId);
    this.#store.apply(await this.#partway.session(entry.sessionId));
  }

  /** Copies a link, or shows it where the browser does not allow that. */
  async #copyOrShow(entry, link, text) {
    const isCopied = await (navigator.clipboard?.writeText(link) ?? Promise.reject()).then(() => true, () => false);
    if (isCopied) this.#note(entry, { text: `Link copied. ${text}`, isError: false });
    else await this.#dialogs.show(link, text);
  }

  #note(entry, note) {
    entry.note = note;
    this.#announcer.say(note.text);
    if (note.isError) return;
    setTimeout(() => {
      if (entry.note === note) entry.note = null;
      this.#store.changed();
    }, NOTE_LIFETIME);
  }
}
