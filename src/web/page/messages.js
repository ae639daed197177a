// Owns what the page says about an error. Does not own where it says it.
import { formatBytes } from './format.js';

const ENDED = { aborted_by_owner: 'it was aborted', expired: 'it has expired', checksum_mismatch: 'the bytes did not have the declared digest', bytes_lost: 'the server has lost its bytes' };

/** The error in words, as one or more sentences. */
export function messageOf(error) {
  const { code, details = {} } = error;
  switch (code) {
    case 'NO_ANSWER': return 'The server cannot be reached.';
    case 'SOURCE_UNREADABLE': return 'The browser cannot read the file: it was changed, moved or deleted. Choose it again.';
    case 'DIFFERENT_FILE': return 'This is not the file that the upload began with. Nothing was changed.';
    case 'QUOTA_EXCEEDED': return `Not enough space: the file needs ${formatBytes(details.bytesNeeded)}, and ${formatBytes(Math.max(0, details.bytesLeft))} is free.`;
    case 'SESSION_CLOSED': return `The upload has ended on the server: ${ENDED[details.statusReason] ?? 'it cannot be continued'}.`;
    case 'NOT_FOUND': return 'Not found: it does not exist, or it belongs to another owner.';
    default: {
      const text = String(error.detail ?? error.message ?? error);
      return /[.!?…]$/.test(text) ? text : `${text}.`;
    }
  }
}
