// Pause, abort, and uploads that are continued elsewhere: after a reload, on another device, by two at once.
import { PART, Partway, SMALL_PARTS, all, assert, assertStored, bytesOf, newToken, sha256, testWithServer, when } from './support.js';

const parts = (count) => bytesOf(count * PART);

/** Begins an upload and leaves it when the server has the first 6 parts, and nothing more is on its way. */
async function begin(partway, bytes, options) {
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  const slice = async (start, end) => {
    if (start >= 6 * PART) await released;
    return bytes.slice(start, end);
  };
  const upload = partway.upload({ size: bytes.length, slice }, { parallel: 2, ...options });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed === 6 * PART);
  const ended = upload.abort();
  release();
  await ended;
  // Not the upload itself: that is a promise, which would be awaited here.
  return { upload, sessionId: upload.sessionId };
}

testWithServer('many parts: at most `parallel` at a time, read when they are sent', SMALL_PARTS, async ({ client, requests }) => {
  const partway = client();
  const bytes = parts(100);
  let [reads, most] = [0, 0];
  const source = { size: bytes.length, name: 'a', slice: (start, end) => { reads += 1; most = Math.max(most, reads - requests.done); return bytes.slice(start, end); } };
  requests.done = 0;
  const upload = partway.upload(source, { parallel: 8 });
  let last = 0;
  upload.on('progress', ({ bytesConfirmed, ranges }) => {
    assert.ok(bytesConfirmed >= last);
    last = bytesConfirmed;
    requests.done = ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
  });
  await assertStored(partway, await upload, bytes);
  assert.equal(reads, 100, 'each part is read once');
  assert.equal(requests.most, 8);
  assert.ok(most <= 9, `${most} parts in memory`);
});

testWithServer('pause and resume', SMALL_PARTS, async ({ client, requests }) => {
  const partway = client({ uploads: 1 });
  const bytes = parts(40);
  const upload = partway.upload(bytes, { name: 'a' });
  const states = [];
  upload.on('state', (state) => states.push(state));
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed >= 10 * PART);
  upload.pause();
  assert.equal(upload.state, 'paused');
  requests.clear();
  // Another upload has its turn meanwhile: more requests than a few that were on their way.
  const other = parts(3);
  await assertStored(partway, await partway.upload(other, { name: 'b' }), other);
  assert.equal(requests.parts().length, 3);
  upload.pause();
  upload.resume();
  upload.resume();
  await assertStored(partway, await upload, bytes);
  assert.deepEqual(states, ['finding', 'sending', 'paused', 'sending', 'finalizing', 'done']);
});

testWithServer('an upload that is paused before it begins, and one that is aborted while paused', SMALL_PARTS, async ({ client, requests }) => {
  const partway = client();
  const upload = partway.upload(parts(2), { name: 'a' });
  upload.pause();
  const aborted = partway.upload(parts(2), { name: 'b' });
  aborted.pause();
  await aborted.abort();
  await assert.rejects(aborted, { name: 'AbortError' });
  assert.equal(requests.list.length, 0);
  upload.resume();
  assert.equal((await upload).originalFilename, 'a');
});

testWithServer('abort leaves the session, or ends it', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const bytes = parts(40);
  const { upload: left } = await begin(partway, bytes, { name: 'a' });
  assert.equal(left.state, 'aborted');
  await assert.rejects(left, { name: 'AbortError' });
  assert.equal((await partway.session(left.sessionId)).status, 'IN_PROGRESS');
  const ended = partway.upload(bytes, { name: 'b' });
  await when(ended, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  await ended.abort({ session: true });
  assert.equal((await partway.session(ended.sessionId)).status, 'ABORTED');
});

testWithServer('abort by a signal, at every moment', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  for (const moment of ['before', 'finding', 'sending', 'finalizing']) {
    const controller = new AbortController();
    const reason = new Error(moment);
    if (moment === 'before') controller.abort(reason);
    const upload = partway.upload(parts(10), {
      name: moment, signal: controller.signal, abortSession: true,
      onState: (state) => { if (state === moment) controller.abort(reason); },
    });
    await assert.rejects(upload.then(), (error) => error === reason);
    assert.equal(upload.state, 'aborted');
    await upload.abort();
  }
  for (const { status } of await all(partway.sessions())) assert.notEqual(status, 'IN_PROGRESS');
});

testWithServer('after a reload, a new client continues, and sends the rest only', SMALL_PARTS, async ({ client, requests }) => {
  const bytes = parts(40);
  const first = await begin(client(), bytes, { name: 'a' });
  const partway = client();
  requests.clear();
  const states = [];
  const upload = partway.upload(new Blob([bytes]), { name: 'a', onState: (state) => states.push(state) });
  let compared = 0;
  upload.on('progress', ({ bytesCompared }) => { compared = Math.max(compared, bytesCompared); });
  const file = await upload;
  await assertStored(partway, file, bytes);
  assert.equal(file.sessionId, first.sessionId);
  assert.deepEqual(requests.parts().sort((a, b) => a - b), Array.from({ length: 34 }, (_, index) => index + 7));
  assert.deepEqual(states, ['finding', 'comparing', 'sending', 'finalizing', 'done']);
  assert.ok(compared > 0);
});

testWithServer('another device compares before it sends', SMALL_PARTS, async ({ server, url, client, requests }) => {
  const bytes = parts(40);
  const first = await begin(client(), bytes, { name: 'a' });
  const device = new Partway({ url, token: newToken(server, 'local') });
  requests.clear();
  const file = await device.upload(bytes, { name: 'a' });
  assert.equal(file.sessionId, first.sessionId);
  const order = requests.list.map(({ method, path, number }) => number ? 'send' : `${method} ${path.split('/').pop()}`);
  assert.ok(order.indexOf('GET parts') >= 0 && order.indexOf('GET parts') < order.indexOf('send'));
  await assertStored(device, file, bytes);
});

testWithServer('another file with the same name and size is not mixed', SMALL_PARTS, async ({ client, requests }) => {
  const [mine, theirs] = [parts(20), parts(20)];
  // Only the second part differs: the first part that arrived does not tell.
  const similar = mine.slice();
  similar[PART + 5] ^= 1;
  const first = await begin(client(), mine, { name: 'a' });
  const partway = client();
  for (const bytes of [theirs, similar]) {
    requests.clear();
    const file = await partway.upload(bytes, { name: 'a' });
    assert.notEqual(file.sessionId, first.sessionId);
    assert.equal(requests.parts().length, 20);
    await assertStored(partway, file, bytes);
  }
  const file = await partway.upload(mine, { name: 'a' });
  assert.equal(file.sessionId, first.sessionId);
  await assertStored(partway, file, mine);
});

testWithServer('a session with other metadata is not continued', SMALL_PARTS, async ({ client }) => {
  const bytes = parts(20);
  const first = await begin(client(), bytes, { name: 'a', metadata: { album: 1 } });
  const partway = client();
  const other = await partway.upload(bytes, { name: 'a', metadata: { album: 2 } });
  assert.notEqual(other.sessionId, first.sessionId);
  assert.deepEqual(other.metadata, { album: 2 });
  assert.equal((await partway.upload(bytes, { name: 'a', metadata: { album: 1 } })).sessionId, first.sessionId);
});

testWithServer('two uploads of one file at once', SMALL_PARTS, async ({ client }) => {
  const bytes = parts(30);
  const first = client().upload(bytes, { name: 'a' });
  await when(first, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  const partway = client();
  const files = await Promise.all([first, partway.upload(bytes, { name: 'a' }), client().upload(bytes, { name: 'a' })]);
  for (const file of files) await assertStored(partway, file, bytes);
  assert.equal((await partway.me()).openSessions, 0);
}, 120_000);

testWithServer('two files with one name and size at once', SMALL_PARTS, async ({ client }) => {
  for (const isFirst of [true, false]) {
    const [one, two] = [parts(30), parts(30)];
    let release;
    const released = new Promise((resolve) => { release = resolve; });
    // The first upload has created the session and reads its first part slowly: the other finds nothing to compare.
    const slow = { size: one.length, slice: async (start, end) => { if (!isFirst) await released; return one.slice(start, end); } };
    const first = client().upload(slow, { name: `${isFirst}`, parallel: 1 });
    await when(first, 'state', (state) => state === 'sending');
    const second = client().upload(two, { name: `${isFirst}`, parallel: 1 });
    await when(second, 'progress', ({ bytesConfirmed }) => bytesConfirmed > PART);
    release();
    const partway = client();
    await assertStored(partway, await first, one);
    await assertStored(partway, await second, two);
  }
}, 120_000);

testWithServer('a given session: of this file, of another one, ended', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const bytes = parts(20);
  const { sessionId } = await begin(partway, bytes, { name: 'a' });
  await assert.rejects(partway.upload(parts(20), { sessionId }), { code: 'DIFFERENT_FILE' });
  await assert.rejects(partway.upload(parts(19), { sessionId }), { code: 'DIFFERENT_FILE' });
  const file = await partway.upload(bytes, { sessionId });
  assert.equal(file.sessionId, sessionId);
  // Again: the stored file is compared, and nothing is sent.
  assert.equal((await partway.upload(bytes, { sessionId })).fileId, file.fileId);
  await assert.rejects(partway.upload(parts(20), { sessionId }), { code: 'DIFFERENT_FILE' });
  await partway.deleteFile(file.fileId);
  await assert.rejects(partway.upload(bytes, { sessionId }), { code: 'SESSION_CLOSED' });
  await assert.rejects(partway.upload(bytes, { sessionId: 'unknown' }), { code: 'NOT_FOUND' });
});

testWithServer('an idempotency key is one upload', SMALL_PARTS, async ({ client, requests }) => {
  const partway = client();
  const bytes = parts(5);
  const file = await partway.upload(bytes, { name: 'a', idempotencyKey: 'k' });
  requests.clear();
  assert.equal((await partway.upload(bytes, { name: 'a', idempotencyKey: 'k' })).fileId, file.fileId);
  assert.deepEqual(requests.parts(), []);
  await assert.rejects(partway.upload(parts(5), { name: 'a', idempotencyKey: 'k' }), { code: 'DIFFERENT_FILE' });
  await assert.rejects(partway.upload(bytes, { name: 'b', idempotencyKey: 'k' }), { code: 'IDEMPOTENCY_KEY_REUSED' });
});

testWithServer('a session that the owner aborts elsewhere ends the upload', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  const upload = partway.upload(parts(60), { name: 'a', parallel: 1 });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  await client().abort(upload.sessionId);
  await assert.rejects(upload, { code: 'SESSION_CLOSED' });
});

testWithServer('a session that another client completes completes the upload', SMALL_PARTS, async ({ client }) => {
  const bytes = parts(20);
  const paused = client().upload(bytes, { name: 'a', parallel: 1 });
  await when(paused, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  paused.pause();
  const other = await client().upload(bytes, { name: 'a' });
  paused.resume();
  const file = await paused;
  assert.equal(file.fileId, other.fileId);
  assert.equal((await client().computeSha256(file.fileId)).sha256, sha256(bytes));
});
