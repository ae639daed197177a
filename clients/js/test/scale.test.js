// Many files, and a large one: bounded requests and bounded memory. TEST_GIB is the size of the large file, 1 by default.
import { MIB, assert, testWithServer, all } from './support.js';

testWithServer('2,000 small files', {}, async ({ client, requests }) => {
  const partway = client();
  let most = 0;
  const running = new Set();
  const uploads = Array.from({ length: 2000 }, (_, number) => {
    const upload = partway.upload(new TextEncoder().encode(`content ${number}`), { name: `${number}.txt` });
    upload.on('state', (state) => {
      if (state === 'finding') running.add(upload);
      most = Math.max(most, running.size);
      if (state === 'done') running.delete(upload);
    });
    return upload;
  });
  const files = await Promise.all(uploads);
  assert.equal(new Set(files.map(({ fileId }) => fileId)).size, 2000);
  assert.ok(most <= 4 && requests.most <= 4, `${most} uploads and ${requests.most} requests at once`);
  assert.equal((await all(partway.events())).length, 2000);
  assert.equal(await (await partway.download(files[1234].fileId)).text(), 'content 1234');
}, 300_000);

const gib = Number(process.env.TEST_GIB ?? 1);
testWithServer(`a file of ${gib} GiB does not grow the memory`, { PARTWAY_SYNC: 'os' }, async ({ client }) => {
  const partway = client();
  const source = { size: gib * 1024 * MIB + 1, name: 'large', slice: (start, end) => new Uint8Array(end - start) };
  const before = process.memoryUsage().rss;
  let most = 0;
  const upload = partway.upload(source);
  upload.on('progress', () => { most = Math.max(most, process.memoryUsage().rss - before); });
  const file = await upload;
  assert.equal(file.sizeBytes, source.size);
  console.log(`# at most ${Math.round(most / MIB)} MiB more than before`);
  assert.ok(most < 256 * MIB, `${Math.round(most / MIB)} MiB`);
  await partway.deleteFile(file.fileId);
}, 600_000);
