// Owns which session an upload uses: the given one, an open one with the same name, size and bytes, or a new one.
// Does not own the sending.
import { hex } from './digest.js';
import { PartwayError } from './error.js';
import { digestOf } from './local.js';
import { canonical, isOpen, newSession, numbersOf, timeOf } from './model.js';
import { each } from './slots.js';

/** Resolves to `{ session, isCreated }`. `isNew` asks for a session of its own. */
export async function openSession(work, { isNew }) {
  const { upload, options } = work;
  upload.enter('finding');
  if (options.sessionId !== undefined) return given(work, await get(upload, options.sessionId));
  if (options.idempotencyKey === undefined && !isNew) {
    for (const session of await candidates(work)) {
      if (session.receivedParts.length > 0) upload.enter('comparing');
      if (await sameParts(work, session)) {
        upload.sessionId = session.sessionId;
        return { session, isCreated: false };
      }
    }
    upload.enter('finding');
  }
  const session = await create(work);
  // A key that was used before may have brought an older session.
  return options.idempotencyKey === undefined ? { session, isCreated: true } : given(work, session);
}

const get = (upload, id) => upload.attempt((signal) => upload.http.json('GET', `/uploads/sessions/${encodeURIComponent(id)}`, { signal }));

/** A session that the application has chosen: it must be for this file. */
async function given(work, session) {
  const { upload, source } = work;
  upload.sessionId = session.sessionId;
  if (session.totalSizeBytes !== source.size) {
    throw new PartwayError('DIFFERENT_FILE', `The session is for a file of ${session.totalSizeBytes} bytes, and this one has ${source.size}`);
  }
  if (isOpen(session)) {
    if (session.receivedParts.length > 0) upload.enter('comparing');
    if (!await sameParts(work, session)) throw new PartwayError('DIFFERENT_FILE', 'The session has bytes of another file');
  } else if (session.status !== 'COMPLETE' || session.file.status !== 'STORED') {
    const statusReason = session.statusReason ?? session.file.status;
    throw new PartwayError('SESSION_CLOSED', `The upload has ended on the server: ${statusReason}`, { status: 409, details: { status: session.status, statusReason } });
  }
  return { session, isCreated: false };
}

const nameOf = ({ source, options }) => options.name ?? source.name ?? 'unnamed';

/** The open sessions for a file of this name and size that would store what the application asks for; the fullest first. */
async function candidates(work) {
  const { upload, source, options } = work;
  const found = [];
  for (let after; after !== null;) {
    const filters = { open: true, original_filename: nameOf(work), total_size_bytes: source.size, limit: 100, ...(after && { after }) };
    const page = await upload.attempt((signal) => upload.http.json('GET', `/uploads/sessions?${new URLSearchParams(filters)}`, { signal }));
    found.push(...page.sessions.filter((session) => isWanted(session, options)));
    after = page.next;
  }
  return found.sort((a, b) => b.bytesReceived - a.bytesReceived);
}

function isWanted({ file, autoFinalize }, options) {
  return canonical(file.metadata) === canonical(options.metadata ?? {})
    && (options.contentType === undefined || file.contentType === options.contentType)
    && (options.retainUntil === undefined || Date.parse(file.retainUntil) === Date.parse(timeOf(options.retainUntil)))
    && autoFinalize === (options.autoFinalize ?? false);
}

/** Whether every part that the server has is the same part of the local file. */
export async function sameParts(work, session) {
  const { upload } = work;
  upload.numbers.begin(session.chunkSizeBytes, numbersOf(session.receivedParts));
  for (let after; after !== null;) {
    const query = new URLSearchParams({ limit: 1000, ...(after && { after }) });
    const page = await upload.attempt((signal) => upload.http.json('GET', `/uploads/sessions/${session.sessionId}/parts?${query}`, { signal }));
    let isSame = true;
    await each(page.parts, work.parallel, async ({ partNumber, sha256 }) => {
      if (!isSame) return;
      await upload.attempt(async () => {}); // Waits while paused.
      if (hex(await digestOf(work, session, partNumber)) !== sha256) isSame = false;
      upload.numbers.compared(partNumber);
      upload.reportProgress(false);
    });
    if (!isSame) return false;
    after = page.next;
  }
  return true;
}

async function create(work) {
  const { upload, source, options } = work;
  const body = newSession({ ...options, name: nameOf(work), size: source.size, contentType: options.contentType ?? source.type });
  upload.creation = body;
  const session = await upload.attempt((signal) => upload.http.json('POST', '/uploads/sessions', { body, signal }));
  upload.sessionId = session.sessionId;
  return session;
}
