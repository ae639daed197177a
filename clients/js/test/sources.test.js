// Every kind of source arrives as it is: sizes, names, types, metadata.
import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { sha256 as plainSha256 } from '../src/sha256.js';
import { PART, PartwayError, SMALL_PARTS, assert, assertStored, bytesOf, sha256, testWithServer, when } from './support.js';

testWithServer('files of 0 bytes, 1 byte, one part, and one byte more', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  for (const size of [0, 1, PART - 1, PART, PART + 1, 3 * PART]) {
    const bytes = bytesOf(size);
    const upload = partway.upload(bytes, { name: `${size}.bin` });
    const file = await upload;
    assert.equal((await partway.computeSha256(file.fileId)).sha256, sha256(bytes));
    await assertStored(partway, file, bytes);
    assert.equal(upload.state, 'done');
    assert.equal(upload.sessionId, file.sessionId);
    const { bytesConfirmed, bytesSent, totalBytes, eta } = upload.progress;
    assert.deepEqual([bytesConfirmed, bytesSent, totalBytes, eta], [size, size, size, 0]);
  }
});

testWithServer('every kind of source', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const bytes = bytesOf(5 * PART + 7);
  const folder = await mkdtemp(join(tmpdir(), 'partway-js-'));
  await writeFile(join(folder, 'a'), bytes);
  const larger = new Uint8Array(bytes.length + 20);
  larger.set(bytes, 10);
  const sliced = { size: bytes.length, name: 'n', slice: (start, end) => bytes.slice(start, end) };
  const pieces = async function* () {
    for (let at = 0; at < bytes.length; at += 1000) yield bytes.slice(at, at + 1000);
  };
  const sources = {
    Blob: new Blob([bytes]),
    File: new File([bytes], 'f'),
    'file on the disk': await openAsBlob(join(folder, 'a')),
    ArrayBuffer: bytes.slice().buffer,
    'view of a larger buffer': larger.subarray(10, 10 + bytes.length),
    Buffer: Buffer.from(bytes),
    'slice of bytes': sliced,
    'slice of Blobs': { ...sliced, slice: async (start, end) => new Blob([bytes.slice(start, end)]) },
    'ReadableStream': { size: bytes.length, stream: () => new Blob([bytes]).stream() },
    'async iterable': { size: bytes.length, stream: pieces },
    'stream without iterator': { size: bytes.length, stream: () => ({ getReader: () => new Blob([bytes]).stream().getReader() }) },
  };
  for (const [name, source] of Object.entries(sources)) {
    await assertStored(partway, await partway.upload(source, { name }), bytes);
  }
  await rm(folder, { recursive: true });
});

testWithServer('a stream that the server has half of is read twice, and sent once', SMALL_PARTS, async ({ client, requests }) => {
  const bytes = bytesOf(8 * PART);
  let opened = 0;
  const source = { size: bytes.length, name: 's', stream: () => { opened += 1; return new Blob([bytes]).stream(); } };
  const first = client().upload(source, { parallel: 1 });
  await when(first, 'progress', ({ bytesConfirmed }) => bytesConfirmed >= 3 * PART);
  await first.abort();
  const { ranges } = first.progress;
  requests.clear();
  opened = 0;
  const partway = client();
  await assertStored(partway, await partway.upload(source), bytes);
  assert.equal(opened, 1, 'the comparison ends where the missing parts begin');
  assert.ok(requests.parts().length <= 8 - ranges.at(-1)[1]);
});

testWithServer('what the application says about the file', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const retainUntil = new Date(Date.now() + 86_400_000);
  const metadata = { album: '2026', 'snake_case name': { inner_name: [1, null] } };
  const file = await partway.upload(new File(['x'], 'ä ö.txt', { type: 'text/plain' }), { metadata, retainUntil, autoFinalize: true });
  assert.equal(file.originalFilename, 'ä ö.txt');
  assert.equal(file.contentType, 'text/plain');
  assert.deepEqual(file.metadata, metadata);
  assert.equal(Date.parse(file.retainUntil), retainUntil.getTime());
  const { autoFinalize, receivedParts, file: { fileId } } = await partway.session(file.sessionId);
  assert.deepEqual([autoFinalize, receivedParts, fileId], [true, [[1, 1]], file.fileId]);
  const named = await partway.upload(new File(['x'], 'a', { type: 'text/plain' }), { name: 'b', contentType: 'text/csv' });
  assert.deepEqual([named.originalFilename, named.contentType], ['b', 'text/csv']);
});

testWithServer('sources that are none, or not as long as they say', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const slice = () => new Uint8Array(10);
  for (const [source, code] of [
    [undefined, 'INVALID_SOURCE'], ['text', 'INVALID_SOURCE'], [{ size: 1 }, 'INVALID_SOURCE'], [{ size: -1, slice }, 'INVALID_SOURCE'],
    [{ size: 11, slice }, 'SOURCE_UNREADABLE'],
    [{ size: 11, slice: () => { throw new Error('gone'); } }, 'SOURCE_UNREADABLE'],
    [{ size: 11, stream: () => new Blob(['short']).stream() }, 'SOURCE_UNREADABLE'],
  ]) {
    const upload = partway.upload(source);
    await assert.rejects(upload, (error) => error instanceof PartwayError && error.code === code);
    assert.equal(upload.state, 'failed');
  }
});

test('SHA-256 without Web Crypto', async () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 100_000, 3_000_001]) {
    const bytes = bytesOf(size);
    assert.deepEqual(Buffer.from(await plainSha256(bytes)), createHash('sha256').update(bytes).digest());
  }
});
