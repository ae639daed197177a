// Owns how the bytes of a file are read, a part at a time.
// Does not own how they are divided into parts, hashed or sent.
import { PartwayError } from './error.js';

/**
 * What `upload` accepts, as one thing: `read(start, end)` resolves to these bytes. Nothing is read before.
 * @returns {{ size: number, name?: string, type?: string, read(start: number, end: number): Promise<Uint8Array> }}
 */
export function openSource(source) {
  if (source instanceof ArrayBuffer) source = new Uint8Array(source);
  if (ArrayBuffer.isView(source)) {
    const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    return { size: bytes.length, read: async (start, end) => bytes.subarray(start, end) };
  }
  const { size, name, type } = Object(source);
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new PartwayError('INVALID_SOURCE', 'The source must be a Blob, a Uint8Array, or have a size and slice() or stream()');
  }
  const read = typeof source.slice === 'function' ? async (start, end) => bytesOf(await source.slice(start, end))
    : typeof source.stream === 'function' ? inOrder(source) : null;
  if (!read) throw new PartwayError('INVALID_SOURCE', 'The source must have slice() or stream()');
  return { size, name, type, read: (start, end) => checked(read, start, end) };
}

async function checked(read, start, end) {
  let bytes;
  try {
    bytes = await read(start, end);
  } catch (cause) {
    throw new PartwayError('SOURCE_UNREADABLE', 'The file cannot be read: it may have changed since it was chosen', { cause });
  }
  if (bytes.length === end - start) return bytes;
  throw new PartwayError('SOURCE_UNREADABLE', `The file has ${bytes.length} bytes where ${end - start} were expected`);
}

async function bytesOf(slice) {
  if (ArrayBuffer.isView(slice)) return new Uint8Array(slice.buffer, slice.byteOffset, slice.byteLength);
  return new Uint8Array(slice instanceof ArrayBuffer ? slice : await slice.arrayBuffer());
}

/** Reads a stream from its beginning to its end. A read before the present place opens the stream again. */
function inOrder(source) {
  let chunks, place, rest;
  const open = () => { chunks = iterate(source.stream()); place = 0; rest = new Uint8Array(0); };
  const read = async (start, end) => {
    if (!chunks || start < place) { await chunks?.return?.(); open(); }
    const bytes = new Uint8Array(end - start);
    while (place < end) {
      if (rest.length === 0) {
        const { value, done } = await chunks.next();
        if (done) return bytes.subarray(0, Math.max(0, place - start));
        rest = await bytesOf(value);
        continue;
      }
      const wanted = place < start ? start - place : end - place;
      const taken = rest.subarray(0, wanted);
      if (place >= start) bytes.set(taken, place - start);
      place += taken.length;
      rest = rest.subarray(taken.length);
    }
    return bytes;
  };
  let queue = Promise.resolve();
  return (start, end) => {
    const result = queue.then(() => read(start, end));
    queue = result.catch(() => { chunks = undefined; });
    return result;
  };
}

async function* iterate(stream) {
  if (stream[Symbol.asyncIterator]) return yield* stream;
  // Safari's ReadableStream has no iterator.
  const reader = stream.getReader();
  try {
    for (let next; !(next = await reader.read()).done;) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
