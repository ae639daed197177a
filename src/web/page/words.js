// Owns what a row says: the status in words, and the numbers beside the bar.
// Does not own how numbers read; see format.js.
import { formatBytes, formatSeconds, formatTime, percentOf } from './format.js';
import { messageOf } from './messages.js';

const FAILED = { checksum_mismatch: 'Failed: the bytes do not have the declared digest', bytes_lost: 'Failed: the server has lost its bytes' };
const WORDS = {
  waiting: 'Waiting to start',
  finding: 'Checking with the server',
  sending: 'Sending',
  paused: 'Paused',
  finalizing: 'Checking and storing',
  stopped: 'Failed (can be retried)',
  stored: 'Stored',
  deleted: 'Deleted',
  aborted: 'Aborted',
  expired: 'Expired',
};

/** After these times without progress, the row says how long that is. */
const STALLED = 10_000;
const PAUSE = 3000;

export function statusText(entry) {
  const { status, session, progress, retry } = entry;
  if (retry && entry.isRunning && status !== 'paused') return 'Waiting to try again';
  if (status === 'comparing') return `Comparing with the received parts…${progress ? ` ${formatBytes(progress.bytesCompared)}` : ''}`;
  if (status === 'failed') return FAILED[session.statusReason] ?? 'Failed';
  if (entry.isComplete) return 'All bytes have arrived; not stored yet';
  if (status === 'open') return entry.isArriving ? 'Receiving from another client' : 'Incomplete: no data arriving';
  return WORDS[status];
}

/** The numbers, with what is known of the speed. */
export function numbersText(entry) {
  const { size, bytes, status, session } = entry;
  if (status === 'stored' || status === 'deleted') return [formatBytes(size), session && formatTime(session.updatedAt)].filter(Boolean).join(' · ');
  const texts = [`${formatBytes(bytes)} of ${formatBytes(size)} (${percentOf(bytes, size)}%)`];
  if (entry.isEnded) return [...texts, formatTime(session.updatedAt)].join(' · ');
  if (entry.isRunning) {
    const { rate = 0, eta = null } = status === 'sending' && !entry.retry ? entry.progress ?? {} : {};
    const idle = Date.now() - entry.moved;
    const stalled = status === 'sending' && !entry.retry && idle >= STALLED ? [`no progress for ${formatSeconds(idle / 1000)}`] : [];
    texts.push(...speed(rate, eta), ...stalled, 'from this page');
  } else if (status === 'open') {
    const { lastArrival, isComplete } = entry;
    const rate = isComplete || lastArrival === null ? 0 : entry.rate.now();
    texts.push(...speed(rate, rate > 0 ? (size - bytes) / rate : null));
    if (lastArrival >= PAUSE) texts.push(`last part ${formatSeconds(lastArrival / 1000)} ago`);
    if (lastArrival === null && session) texts.push(`expires ${formatTime(session.expiresAt)}`);
  }
  return texts.join(' · ');
}

const speed = (rate, eta) => (rate > 0 ? [`${formatBytes(Math.round(rate))}/s`, ...(eta === null ? [] : [`${formatSeconds(eta)} left`])] : []);

/** What the row says below the numbers, or null. */
export function noteOf({ note, retry, isRunning }) {
  if (retry && isRunning) {
    const left = Math.ceil((retry.at - Date.now()) / 1000);
    if (retry.error.code === 'BUSY') return { text: 'Another tab or device is sending this file too.', isError: false };
    return { text: `${messageOf(retry.error)} ${left > 0 ? `Trying again in ${left} s.` : 'Trying again.'}`, isError: true };
  }
  return note;
}
