// Owns what the tests share: a server for each test, files, and a record of the requests. Does not own faults; see proxy.js.
// The binary is the first argument or PARTWAY_BINARY.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { withServer } from '../../../tests/clients/server.mjs';
import { Partway } from '../index.js';

process.argv[2] ??= process.env.PARTWAY_BINARY;
// The server takes every PARTWAY_ variable for a setting.
delete process.env.PARTWAY_BINARY;
assert.ok(process.argv[2], 'the path of the binary: the first argument, or PARTWAY_BINARY');

export { assert };
export { proxyTo } from './proxy.js';
export { Partway, PartwayError } from '../index.js';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const PART = 64 * KIB;
export const SMALL_PARTS = { PARTWAY_CHUNK_SIZE: String(PART) };

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
export const bytesOf = (size) => new Uint8Array(randomBytes(size));

/** A test with a server of its own. `work` gets it, with `client(options)`. */
export function testWithServer(name, settings, work, timeout = 60_000) {
  test(name, { timeout }, () => withServer(async (server) => {
    const { url, token } = server;
    const requests = record();
    try {
      await work({ server, url, token, requests, client: (options) => new Partway({ url, token, ...options }) });
    } finally {
      requests.end();
    }
  }, settings));
}

/** Another token, of this owner. */
export const newToken = ({ data, settings, binary }, owner, ...more) =>
  execFileSync(binary, ['token', 'create', '--owner', owner, '--data', data, ...more], { env: { ...process.env, ...settings }, encoding: 'utf8' })
    .match(/pw_\S+/)[0];

export const cli = ({ data, settings, binary }, ...args) =>
  execFileSync(binary, [...args, '--data', data], { env: { ...process.env, ...settings }, encoding: 'utf8' });

/** The stored file has these bytes. */
export async function assertStored(partway, file, bytes) {
  const stored = new Uint8Array(await (await partway.download(file.fileId)).arrayBuffer());
  assert.equal(sha256(stored), sha256(bytes));
  assert.equal(file.sizeBytes, bytes.length);
}

export async function all(iterator) {
  const items = [];
  for await (const item of iterator) items.push(item);
  return items;
}

/** Resolves when `isTrue` is, on an event of the upload. */
export const when = (upload, event, isTrue) => new Promise((resolve) => {
  const off = upload.on(event, (value) => { if (isTrue(value)) { off(); resolve(value); } });
});

/** Records the requests of the client, and how many were under way at the same time. */
function record() {
  const real = globalThis.fetch;
  const requests = { list: [], most: 0, now: 0 };
  globalThis.fetch = async (url, options = {}) => {
    const { pathname } = new URL(url);
    requests.list.push({ method: options.method, path: pathname, number: Number(options.headers?.['Part-Number']) || null });
    requests.now += 1;
    requests.most = Math.max(requests.most, requests.now);
    try {
      return await real(url, options);
    } finally {
      requests.now -= 1;
    }
  };
  requests.parts = () => requests.list.filter(({ number }) => number !== null).map(({ number }) => number);
  requests.clear = () => { requests.list.length = 0; requests.most = 0; };
  requests.end = () => { globalThis.fetch = real; };
  return requests;
}
