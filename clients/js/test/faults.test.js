// What goes wrong on the way: damaged bytes, broken connections, lost answers, refusals, a killed server.
import { MIB, PART, Partway, SMALL_PARTS, all, assert, assertStored, bytesOf, proxyTo, testWithServer, when } from './support.js';

/** Uploads 10 parts through a proxy that makes this fault. */
function throughFaults(name, fault, check, timeout) {
  testWithServer(name, SMALL_PARTS, async ({ url, token, requests, server, client }) => {
    const state = { seen: 0, server };
    const proxy = await proxyTo(url, (request) => fault(request, state));
    try {
      const bytes = bytesOf(10 * PART);
      const retries = [];
      const upload = new Partway({ url: proxy.url, token }).upload(bytes, { name: 'a' });
      upload.on('retry', ({ error, wait }) => retries.push({ code: error.code, wait }));
      await check({ upload, bytes, retries, requests, state, client, stored: async () => assertStored(client(), await upload, bytes) });
    } finally {
      proxy.close();
    }
  }, timeout);
}

const once = (isIt, fault) => (request, state) => isIt(request) && (state.seen += 1) === 1 ? fault : undefined;

throughFaults('a damaged part is sent again', once(({ number }) => number === 4, { flip: 1000 }), async ({ stored, retries, requests }) => {
  await stored();
  assert.deepEqual(retries.map(({ code }) => code), ['PART_DAMAGED']);
  assert.equal(requests.parts().filter((number) => number === 4).length, 2);
  assert.equal(requests.parts().length, 11);
});

throughFaults('a part that is always damaged ends the upload', ({ number }) => (number === 4 ? { flip: 1000 } : undefined), async ({ upload, requests }) => {
  await assert.rejects(upload, { code: 'PART_DAMAGED', retryable: false });
  assert.equal(requests.parts().filter((number) => number === 4).length, 5);
}, 120_000);

throughFaults('a cut connection', once(({ number }) => number === 4, { cut: 10_000 }), async ({ stored, retries, requests }) => {
  await stored();
  assert.deepEqual(retries.map(({ code }) => code), ['NO_ANSWER']);
  assert.equal(requests.parts().length, 11);
});

throughFaults('a lost answer to a part: the server is asked, and the part is not sent again',
  once(({ number }) => number === 4, { lost: true }), async ({ stored, requests }) => {
    await stored();
    assert.deepEqual(requests.parts().sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

throughFaults('a lost answer to the creation leaves no second session',
  once(({ method, path }) => method === 'POST' && path === '/uploads/sessions', { lost: true }), async ({ stored, client }) => {
    await stored();
    assert.equal((await all(client().sessions())).length, 1);
  });

throughFaults('a lost answer to finalize', once(({ path }) => path.endsWith('/finalize'), { lost: true }), async ({ stored }) => stored());

throughFaults('Retry-After is honoured', once(({ number }) => number === 2, { status: 503, headers: { 'Retry-After': '1' } }), async ({ stored, retries }) => {
  await stored();
  assert.deepEqual(retries.map(({ code }) => code), ['HTTP_503']);
  assert.ok(retries[0].wait >= 1000, `${retries[0].wait} ms`);
});

throughFaults('a refusal that says it is final is final',
  once(({ number }) => number === 2, { status: 503, body: JSON.stringify({ code: 'NEVER', detail: 'no', retryable: false, request_id: 'r1', some_thing: 1 }) }),
  async ({ upload }) => assert.rejects(upload, { code: 'NEVER', status: 503, detail: 'no', message: 'no', requestId: 'r1', details: { someThing: 1 } }));

throughFaults('an answer that is not from Partway is not taken for success',
  once(({ number }) => number === 2, { status: 200, body: '<html>Please sign in' }), async ({ stored, requests }) => {
    await stored();
    assert.equal(requests.parts().filter((number) => number === 2).length, 2);
  });

throughFaults('a redirect gets no token', () => ({ status: 307, headers: { Location: 'http://127.0.0.1:1/' } }), async ({ upload }) =>
  assert.rejects(upload, { code: 'REDIRECTED' }));

testWithServer('a server that was killed and started again', SMALL_PARTS, async ({ server, client, requests }) => {
  const partway = client();
  const bytes = bytesOf(60 * PART);
  const upload = partway.upload(bytes, { name: 'a' });
  await when(upload, 'progress', ({ bytesConfirmed }) => bytesConfirmed >= 10 * PART);
  await server.restart('SIGKILL');
  await assertStored(partway, await upload, bytes);
  assert.ok(requests.parts().length <= 60 + 2 * 4, `${requests.parts().length} requests for 60 parts`);
});

testWithServer('no server: the upload fails after its patience', {}, async ({ token }) => {
  const upload = new Partway({ url: 'http://127.0.0.1:9', token }).upload(new Uint8Array(1), { retryFor: 300 });
  await assert.rejects(upload, { code: 'NO_ANSWER', retryable: true, status: 0 });
});

testWithServer('parts of 8 MiB: a conflict arrives as its code, not as a broken connection', {}, async ({ client }) => {
  const partway = client();
  const [ours, theirs] = [bytesOf(17 * MIB), bytesOf(17 * MIB)];
  const begun = partway.upload(theirs, { name: 'a', parallel: 1 });
  await when(begun, 'progress', ({ bytesConfirmed }) => bytesConfirmed > 0);
  await begun.abort();
  await assert.rejects(partway.upload(ours, { sessionId: begun.sessionId }), { code: 'DIFFERENT_FILE' });
  await assertStored(partway, await partway.upload(ours, { name: 'a' }), ours);
});
