// Owns what an upload does: finds or creates the session, compares what the server has, sends the rest, and finalizes with a
// proof that the stored file is the local one.
// Does not own attempts, pauses and events (upload.js), nor how a part travels (put.js).
import { PartwayError } from './error.js';
import { openSession, sameParts } from './find.js';
import { digestOf, localComposite, readPart } from './local.js';
import { isOpen, numbersOf } from './model.js';
import { putPart } from './put.js';
import { each } from './slots.js';

const PARALLEL = 4;
/** A part that arrives damaged again and again: something on the way changes bytes on purpose. */
const DAMAGED = 5;
/** How many sessions are left because another file has come into them. */
const STARTS = 4;
/** How often parts may be missing at the end although the server has confirmed all of them. */
const ROUNDS = 3;

/** Uploads the source. Resolves to the stored file. */
export async function transfer(upload, source, options) {
  const work = { upload, source, options, parallel: Math.max(1, options.parallel ?? PARALLEL), digests: new Map() };
  for (let start = 1; ; start += 1) {
    const found = await openSession(work, { isNew: start > 1 });
    work.hasSent = false;
    try {
      return await complete(work, found);
    } catch (error) {
      const isFixed = options.sessionId !== undefined || options.idempotencyKey !== undefined;
      if (!await cannotBecomeFile(work, found, error)) throw error;
      if (isFixed || start === STARTS) throw differentFile(error);
      // With parts of two files it is of use to nobody. Without ours, the other upload completes it.
      if (found.isCreated && work.hasSent) await abortOnServer(upload);
      upload.sessionId = null;
    }
  }
}

/** Aborts the session of the upload, also if the answer to its creation has not come. */
export async function abortOnServer(upload) {
  const { http, creation } = upload;
  if (!upload.sessionId && creation) {
    upload.sessionId = await http.json('POST', '/uploads/sessions', { body: creation }).then((session) => session.sessionId, () => null);
  }
  if (upload.sessionId) await http.json('DELETE', `/uploads/sessions/${upload.sessionId}`).catch(() => {});
}

async function complete(work, found) {
  const { upload } = work;
  let { session } = found;
  const path = `/uploads/sessions/${session.sessionId}`;
  for (let round = 1; ; round += 1) {
    if (isOpen(session)) {
      upload.numbers.begin(session.chunkSizeBytes, numbersOf(session.receivedParts));
      upload.reportProgress(true);
      upload.enter('sending');
      await sendMissing(work, session);
    }
    upload.enter('finalizing');
    const compositeSha256 = await localComposite(work, session);
    try {
      const body = { composite_sha256: compositeSha256 };
      const { file } = await upload.attempt((signal) => upload.http.json('POST', `${path}/finalize`, { body, signal }));
      // A session that was complete before may not have compared.
      if (file.compositeSha256 !== compositeSha256) throw new PartwayError('CHECKSUM_MISMATCH', 'The stored file is another one');
      if (file.status !== 'STORED') throw new PartwayError('SESSION_CLOSED', 'The file was deleted', { status: 409, details: { statusReason: 'aborted_by_owner' } });
      upload.numbers.begin(session.chunkSizeBytes, numbersOf(session.totalParts ? [[1, session.totalParts]] : []));
      upload.reportProgress(true);
      return { ...file, sessionId: session.sessionId };
    } catch (error) {
      if (error.code !== 'PARTS_MISSING' || round === ROUNDS) throw error;
      session = await stateOf(upload, path);
    }
  }
}

async function sendMissing(work, session) {
  const { upload, parallel } = work;
  const { numbers } = upload;
  const missing = [...numbersOf(session.missingParts)];
  // The first part goes ahead until its first bytes have left: a browser then has the permission for all parts.
  let opened;
  const isOpened = new Promise((resolve) => { opened = resolve; });
  const first = missing[0];
  await each(missing, parallel, async (number) => {
    if (number !== first) await isOpened;
    try {
      await sendPart(work, session, number, opened);
    } catch (error) {
      // Another client may have completed the session: finalize will tell.
      const isEnded = error.code === 'SESSION_CLOSED' && (await stateOf(upload, `/uploads/sessions/${session.sessionId}`)).status === 'COMPLETE';
      if (!isEnded) throw error;
      numbers.confirm(number);
    } finally {
      opened();
    }
  });
}

async function sendPart(work, session, number, opened) {
  const { upload } = work;
  const { numbers, http } = upload;
  const id = session.sessionId;
  await upload.attempt(async () => {}); // Reads nothing while paused.
  const bytes = await readPart(work, session, number);
  const digest = await digestOf(work, session, number, bytes);
  let [tries, damaged, most] = [0, 0, 0];
  await upload.attempt(async (signal) => {
    tries += 1;
    // After a failure only the server knows whether it has the part: from this request, or from another client.
    if (tries > 1 && has(await stateNow(upload, `/uploads/sessions/${id}`, signal), number)) return;
    const onProgress = (loaded) => {
      opened();
      if (loaded > most) { most = loaded; upload.budget.renew(); }
      numbers.sent(number, Math.min(loaded, bytes.length));
      upload.reportProgress(false);
    };
    try {
      await putPart(http, id, { number, bytes, digest, signal, onProgress });
      work.hasSent = true;
    } catch (error) {
      numbers.failed(number);
      if (error.code !== 'CHECKSUM_MISMATCH') throw error;
      damaged += 1;
      throw new PartwayError('PART_DAMAGED', `Part ${number} has arrived damaged`, { ...error, retryable: damaged < DAMAGED, cause: error });
    }
  });
  numbers.sent(number, bytes.length);
  numbers.confirm(number);
  upload.budget.renew();
  upload.reportProgress(true);
}

const has = ({ receivedParts, status }, number) =>
  status === 'COMPLETE' || receivedParts.some(([first, last]) => first <= number && number <= last);

const stateOf = (upload, path) => upload.attempt((signal) => stateNow(upload, path, signal));

/** The state of the session. Fails if it has ended without a file. */
async function stateNow({ http }, path, signal) {
  const session = await http.json('GET', path, { signal });
  if (session.status !== 'FAILED' && session.status !== 'ABORTED') return session;
  throw new PartwayError('SESSION_CLOSED', `The upload has ended on the server: ${session.statusReason}`, {
    status: 409, details: { status: session.status, statusReason: session.statusReason },
  });
}

/** Whether the session cannot become this file, and a new one could. */
async function cannotBecomeFile(work, { session, isCreated }, error) {
  if (error.code === 'PART_CONFLICT' || error.code === 'CHECKSUM_MISMATCH' || error.code === 'BYTES_LOST') return true;
  if (error.code !== 'SESSION_CLOSED') return false;
  const reason = error.details.statusReason
    ?? (await work.upload.attempt((signal) => work.upload.http.json('GET', `/uploads/sessions/${session.sessionId}`, { signal }))).statusReason;
  if (reason !== 'aborted_by_owner') return true;
  // The owner wants no upload. But if the session was found, its creator may have left it to this file or another.
  return !isCreated && !await sameParts(work, session);
}

const differentFile = (cause) => cause.code === 'SESSION_CLOSED' ? cause
  : new PartwayError('DIFFERENT_FILE', 'The session has bytes of another file', { status: cause.status, details: cause.details, cause });
