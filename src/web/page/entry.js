// Owns one upload as the page knows it: a session of the server, an upload of this page, or both, and which status follows from them.
// Does not own how they change; see store.js and uploads.js.
import { formatName } from './format.js';
import { Rate } from './rate.js';

export const isOpen = ({ status }) => status === 'INIT' || status === 'IN_PROGRESS';

/** What the statuses of ended sessions are called here. */
function endedStatus({ status, statusReason, file }) {
  if (status === 'COMPLETE') return file.status === 'STORED' ? 'stored' : 'deleted';
  if (status === 'FAILED') return 'failed';
  return statusReason === 'expired' ? 'expired' : 'aborted';
}

const ENDED = new Set(['stored', 'deleted', 'failed', 'aborted', 'expired']);
const RUNNING = new Set(['waiting', 'finding', 'comparing', 'sending', 'paused', 'finalizing']);
let keys = 0;

export class Entry {
  key = keys++;
  /** The latest state from the server. */
  session = null;
  /** The client's upload, its file and its path in the chosen folder, if this page sends it. */
  upload = null;
  file = null;
  path = '';
  /** The progress of the upload, and when it last moved. */
  progress = null;
  moved = 0;
  /** The stored file, as the upload of this page has proven. */
  stored = null;
  /** While the client waits to try again: `{ error, at }`. */
  retry = null;
  /** What the row says besides its status: `{ text, isError }`. */
  note = null;
  /** When it began in this page, and when it ended while this page was open. */
  began = 0;
  ended = 0;
  rate = new Rate();

  get record() { return this.session?.file ?? this.stored; }
  get name() { return this.record?.originalFilename ?? this.file.name; }
  /** The name as people see it. */
  get title() { return formatName(this.name); }
  get folder() {
    const path = this.record?.metadata.path ?? this.path;
    return typeof path === 'string' && path.includes('/') ? path.slice(0, path.lastIndexOf('/') + 1) : '';
  }
  get size() { return this.record?.sizeBytes ?? this.file.size; }
  get sessionId() { return this.upload?.sessionId ?? this.session?.sessionId ?? null; }
  get fileId() { return this.record?.fileId ?? null; }

  /**
   * Of an upload of this page: waiting, finding, comparing, sending, paused, finalizing, or stopped (it failed here, and may be
   * continued). Of any: open, stored, deleted, failed, aborted or expired.
   */
  get status() {
    if (this.session && !isOpen(this.session)) return endedStatus(this.session);
    if (this.stored) return 'stored';
    const state = this.upload?.state ?? 'aborted';
    return state === 'failed' ? 'stopped' : state === 'aborted' ? 'open' : state;
  }

  get isEnded() { return ENDED.has(this.status); }
  /** Whether this page sends it, or will. */
  get isRunning() { return RUNNING.has(this.status); }

  /** Whether the server has all bytes, and stores the file as soon as somebody asks for that. */
  get isComplete() { return this.status === 'open' && this.session !== null && this.session.bytesReceived === this.session.totalSizeBytes; }

  /** What the server has. */
  get received() { return this.status === 'stored' ? this.size : this.session?.bytesReceived ?? this.progress?.bytesConfirmed ?? 0; }
  /** The same, with what is on its way. */
  get bytes() {
    if (!this.isRunning || !this.progress) return this.received;
    return this.status === 'paused' ? this.progress.bytesConfirmed : this.progress.bytesSent;
  }
  /** How many milliseconds ago another client has sent something; null if that is long ago. */
  get lastArrival() { return this.status === 'open' ? this.rate.lastArrival : null; }
  get isArriving() { return this.lastArrival !== null; }

  /** The received ranges, and the number of all parts. */
  get ranges() {
    if (this.status === 'stored') return { ranges: [[1, 1]], parts: 1 };
    const parts = this.session?.totalParts ?? 0;
    // An upload of this page knows more than the last state of the server, unless another client sends too.
    const isOwn = this.isRunning && this.progress && this.progress.bytesConfirmed >= (this.session?.bytesReceived ?? 0);
    return { ranges: isOwn ? this.progress.ranges : this.session?.receivedParts ?? [], parts };
  }
}
