// Owns the parts of the local file and their digests, each computed once.
// Does not own which parts are needed, nor what the server has.
import { composite } from './digest.js';
import { each } from './slots.js';

/** The bytes of a part. */
export function readPart({ source }, { chunkSizeBytes }, number) {
  const start = (number - 1) * chunkSizeBytes;
  return source.read(start, Math.min(source.size, start + chunkSizeBytes));
}

/** The digest of a part. Reads the part if it is not given and its digest is not known. */
export async function digestOf(work, session, number, bytes) {
  const known = knownDigests(work, session);
  if (bytes || !known[number - 1]) {
    const digest = await work.upload.digests.of(bytes ?? await readPart(work, session, number));
    // The proof at the end has the bytes that were sent.
    known[number - 1] = digest;
  }
  return known[number - 1];
}

/** The SHA-256 over the digests of all parts: the server has the same if it has the same file. */
export async function localComposite(work, session) {
  const numbers = Array.from({ length: session.totalParts }, (_, index) => index + 1);
  await each(numbers, work.parallel, async (number) => {
    work.upload.signal.throwIfAborted();
    await digestOf(work, session, number);
  });
  return composite(knownDigests(work, session));
}

/** The digests that are known, for this size of parts. */
function knownDigests({ digests }, { chunkSizeBytes, totalParts }) {
  if (!digests.has(chunkSizeBytes)) digests.set(chunkSizeBytes, new Array(totalParts));
  return digests.get(chunkSizeBytes);
}
