// The other methods: lists, watching, events, tokens, errors.
import { PART, Partway, PartwayError, SMALL_PARTS, all, assert, assertStored, bytesOf, cli, newToken, proxyTo, sha256, testWithServer, when } from './support.js';

testWithServer('list, read, download, delete, abort, finalize', SMALL_PARTS, async ({ client, url }) => {
  const partway = client();
  const bytes = bytesOf(3 * PART);
  const file = await partway.upload(bytes, { name: 'a' });
  assert.equal((await partway.file(file.fileId)).crc64nvme, file.crc64nvme);
  assert.equal((await partway.computeSha256(file.fileId)).sha256, sha256(bytes));
  const range = await partway.download(file.fileId, { range: [10, 19] });
  assert.deepEqual(new Uint8Array(await range.arrayBuffer()), bytes.subarray(10, 20));
  assert.equal(await partway.deleteFile(file.fileId), null);
  await assert.rejects(partway.download(file.fileId), { code: 'NOT_FOUND', status: 404 });
  assert.equal((await partway.me()).owner, 'local');
  assert.equal((await partway.limits()).chunkSizeBytes, PART);
  const { sessionId: id } = await partway.createSession({ name: 'e', size: 0, metadata: { some_name: 1 } });
  assert.equal((await partway.finalize(id)).status, 'COMPLETE');
  await assert.rejects(partway.abort(id), { code: 'SESSION_CLOSED' });
  assert.deepEqual((await all(partway.sessions({ name: 'e', size: 0, status: 'COMPLETE' }))).map(({ sessionId }) => sessionId), [id]);
  assert.deepEqual((await partway.session(id)).file.metadata, { some_name: 1 });
});

testWithServer('sessions that others send, lists of files, and links', SMALL_PARTS, async ({ client, url }) => {
  const partway = client();
  const bytes = bytesOf(2 * PART);
  const key = { name: 'b', size: bytes.length, contentType: 'video/mp4', idempotencyKey: 'b1' };
  const created = await partway.createSession(key);
  assert.equal((await partway.createSession(key)).sessionId, created.sessionId);
  assert.deepEqual((await all(partway.sessions({ open: true }))).map(({ sessionId }) => sessionId), [created.sessionId]);
  const { token } = await partway.createUploadToken(created.sessionId);
  const { fileId, contentType } = await new Partway({ url, token }).upload(bytes, { sessionId: created.sessionId });
  assert.equal(contentType, 'video/mp4');
  assert.deepEqual(await all(partway.sessions({ open: true })), []);
  assert.deepEqual((await all(partway.files({ status: 'STORED', name: 'b' }))).map((file) => file.fileId), [fileId]);
  assert.deepEqual(await all(partway.files({ status: 'DELETED' })), []);
  const link = await partway.createDownloadLink(fileId, { expiresIn: '5m' });
  assert.ok(Date.parse(link.expiresAt) > Date.now());
  const read = async () => { const response = await fetch(link.url); return response.ok ? new Uint8Array(await response.arrayBuffer()) : response.status; };
  assert.deepEqual(await read(), bytes);
  await partway.deleteFile(fileId);
  assert.equal(await read(), 404);
});

testWithServer('watch goes on after a restart of the server, and ends with the session', SMALL_PARTS, async ({ server, client }) => {
  const partway = client();
  const upload = partway.upload(bytesOf(20 * PART), { name: 'a', parallel: 1 });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  upload.pause();
  const versions = [];
  const connections = [];
  let last;
  for await (const session of client().watch(upload.sessionId, { onConnection: (error) => connections.push(error?.code ?? 'open') })) {
    versions.push(session.version);
    last = session;
    if (versions.length === 1) {
      await server.restart('SIGKILL');
      upload.resume();
    }
  }
  await upload;
  assert.equal(last.status, 'COMPLETE');
  assert.deepEqual(last.receivedParts, [[1, 20]]);
  assert.ok(versions.length > 1);
  assert.deepEqual([...new Set(connections)], ['open', 'NO_ANSWER']);
  assert.equal(connections.at(-1), 'open');
  assert.deepEqual(versions, [...new Set(versions)].sort((a, b) => a - b), 'each state once, in order');
  assert.deepEqual((await all(partway.watch(upload.sessionId))).map(({ status }) => status), ['COMPLETE']);
});

testWithServer('watchAll shows every session, and goes on after a restart of the server', SMALL_PARTS, async ({ server, client }) => {
  const partway = client();
  const open = await partway.createSession({ name: 'open', size: 3 * PART });
  const controller = new AbortController();
  const seen = [];
  await assert.rejects(async () => {
    for await (const session of partway.watchAll({ signal: controller.signal })) {
      seen.push(session);
      if (seen.length === 1) {
        await server.restart('SIGKILL');
        await client().abort(open.sessionId);
        await client().upload(bytesOf(3 * PART), { name: 'stored' });
      } else if (session.file.status === 'STORED') {
        await client().deleteFile(session.file.fileId);
      } else if (session.file.status === 'DELETED') {
        controller.abort();
      }
    }
  }, { name: 'AbortError' });
  assert.equal(seen[0].sessionId, open.sessionId);
  const last = new Map(seen.map((session) => [session.file.originalFilename, `${session.status} ${session.file.status}`]));
  assert.deepEqual(Object.fromEntries(last), { open: 'ABORTED FAILED', stored: 'COMPLETE DELETED' });
});

testWithServer('watch ends by its signal, and fails for good where it must', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  await assert.rejects(all(partway.watch('unknown')), { code: 'NOT_FOUND' });
  const upload = partway.upload(bytesOf(20 * PART), { name: 'a', parallel: 1 });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  upload.pause();
  const controller = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of partway.watch(upload.sessionId, { signal: controller.signal })) setImmediate(() => controller.abort());
  }, { name: 'AbortError' });
  for await (const _ of partway.watch(upload.sessionId)) break;
  await upload.abort();
});

testWithServer('events, from the last one that was seen', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  assert.deepEqual(await all(partway.events()), []);
  const file = await partway.upload(bytesOf(10), { name: 'a', metadata: { some_name: 1 } });
  await partway.deleteFile(file.fileId);
  const events = await all(partway.events());
  assert.deepEqual(events.map(({ type }) => type), ['upload.completed', 'file.deleted']);
  assert.equal(events[0].data.fileId, file.fileId);
  assert.deepEqual(events[0].data.metadata, { some_name: 1 });
  assert.deepEqual((await all(partway.events({ after: events[0].id }))).map(({ id }) => id), [events[1].id]);
  assert.deepEqual(await all(partway.events({ after: events[1].id })), []);
  await partway.upload(bytesOf(10), { name: 'b' });
  assert.deepEqual((await all(partway.events({ after: events[1].id }))).map(({ type }) => type), ['upload.completed']);
});

testWithServer('more events than a page', SMALL_PARTS, async ({ client }) => {
  const partway = client();
  for (let count = 0; count < 30; count += 1) await partway.upload(bytesOf(0), { name: `${count}`, metadata: { text: 'x'.repeat(15_000) } });
  const events = await all(partway.events());
  assert.deepEqual(events.map(({ data }) => data.originalFilename), Array.from({ length: 30 }, (_, count) => `${count}`));
  assert.equal((await all(partway.sessions())).length, 30);
});

testWithServer('a token for one upload', SMALL_PARTS, async ({ url, client }) => {
  const partway = client();
  const bytes = bytesOf(10 * PART);
  const begun = partway.upload(bytes, { name: 'a', parallel: 1 });
  await when(begun, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  await begun.abort();
  const { token, uploadUrl, expiresAt } = await partway.createUploadToken(begun.sessionId, { expiresIn: '1h' });
  assert.match(token, /^pu_/);
  assert.match(uploadUrl, /\/uploads\/tus\//);
  assert.ok(Date.parse(expiresAt) > Date.now());
  const page = new Partway({ url, token });
  await assert.rejects(page.me(), { code: 'FORBIDDEN' });
  await assert.rejects(page.upload(bytes, { name: 'a' }), { code: 'FORBIDDEN' });
  const watched = all(page.watch(begun.sessionId));
  const file = await page.upload(bytes, { sessionId: begun.sessionId });
  await assertStored(partway, file, bytes);
  assert.equal((await watched).at(-1).status, 'COMPLETE');
  assert.ok((await partway.createUploadToken(begun.sessionId).catch((error) => error)) !== undefined);
});

testWithServer('a refused token is renewed once, for all requests', SMALL_PARTS, async ({ server, url, token: good, client }) => {
  let [asked, current] = [0, 'pw_expired'];
  const partway = new Partway({ url, token: async () => { asked += 1; await new Promise(setImmediate); return current; } });
  await assert.rejects(partway.me(), { code: 'UNAUTHENTICATED', status: 401 });
  assert.equal(asked, 2, 'the first, and one more after its refusal');
  current = good;
  asked = 0;
  await Promise.all(Array.from({ length: 20 }, () => partway.me()));
  assert.equal(asked, 1);
  // A token that ends in the middle of an upload.
  const [one, two] = [newToken(server, 'local', '--name', 'one'), newToken(server, 'local', '--name', 'two')];
  current = one;
  asked = 0;
  const other = new Partway({ url, token: () => { asked += 1; return current; } });
  const bytes = bytesOf(40 * PART);
  const upload = other.upload(bytes, { name: 'a' });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed >= 5 * PART);
  upload.pause();
  const [id] = cli(server, 'token', 'list').split('\n').find((line) => /\bone\b/.test(line)).trim().split(/\s+/);
  cli(server, 'token', 'revoke', id);
  const isRefused = async () => (await fetch(`${url}/me`, { headers: { Authorization: `Bearer ${one}` } })).status === 401;
  while (!await isRefused()) await new Promise(setImmediate);
  current = two;
  upload.resume();
  await assertStored(client(), await upload, bytes);
  assert.equal(asked, 2);
});

testWithServer('token callbacks that fail', SMALL_PARTS, async ({ url, token, client }) => {
  const failing = new Partway({ url, token: async () => { throw new Error('signed out'); } });
  await assert.rejects(failing.me(), { code: 'NO_TOKEN', message: /signed out/, retryable: false });
  await assert.rejects(failing.upload(bytesOf(1)), { code: 'NO_TOKEN' });
  let asked = 0;
  const flaky = new Partway({ url, token: async () => { asked += 1; if (asked < 3) throw new TypeError('fetch failed'); return token; } });
  assert.equal((await flaky.upload(bytesOf(1), { name: 'a' })).sizeBytes, 1);
  assert.equal(asked, 3);
  await assert.rejects(new Partway({ url, token: 'pw_wrong' }).upload(bytesOf(1)), { code: 'UNAUTHENTICATED' });
  for (const other of ['pw_…', 'pw_a\nb', 'pw a', '']) {
    await assert.rejects(new Partway({ url, token: other }).upload(bytesOf(1)), { code: 'NO_TOKEN', retryable: false });
  }
  assert.equal((await new Partway({ url, token: `${token}\n` }).me()).owner, 'local');
  assert.equal((await all(client().sessions())).length, 1);
});

testWithServer('errors have the code and the details of the server', { ...SMALL_PARTS, PARTWAY_OWNER_MAX_BYTES: '1000', PARTWAY_MAX_FILE_SIZE: '5000' }, async ({ client }) => {
  const partway = client();
  await partway.upload(bytesOf(300), { name: 'a' });
  await assert.rejects(partway.upload(bytesOf(800), { name: 'b' }), (error) => {
    assert.ok(error instanceof PartwayError && error instanceof Error);
    assert.deepEqual({ ...error }, {
      name: 'PartwayError', code: 'QUOTA_EXCEEDED', status: 413, detail: error.message, retryable: false, requestId: error.requestId,
      details: { bytesLimit: 1000, bytesUsed: 300, bytesLeft: 700, bytesNeeded: 800 },
    });
    assert.match(error.requestId, /\S/);
    return true;
  });
  await assert.rejects(partway.upload(bytesOf(6000), { name: 'c' }), { code: 'TOO_LARGE', status: 413 });
  await assert.rejects(partway.upload(bytesOf(1), { name: '' }), { code: 'INVALID_INPUT', status: 400, details: { field: 'original_filename' } });
  await assert.rejects(partway.session('x'), { code: 'NOT_FOUND', status: 404 });
});

testWithServer('requests outside uploads are tried again for some seconds', SMALL_PARTS, async ({ url, token }) => {
  let failures = 2;
  const proxy = await proxyTo(url, () => (failures-- > 0 ? { status: 502 } : undefined));
  assert.equal((await new Partway({ url: proxy.url, token }).me()).owner, 'local');
  proxy.close();
});
