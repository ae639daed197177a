// tus-js-client against the real binary, by tus and by two drafts of the IETF's protocol.
import assert from "node:assert";
import { createReadStream, existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import * as tus from "tus-js-client";
import { CUT, MIB, SIZE, api, newFile, testClients } from "./resuming.mjs";

// On an object store, a part that a killed server was storing is free again after ten seconds.
const RETRIES = [0, 200, 500, 1000, 2000, 4000, 8000];

/** Runs an upload to its end. Resolves to its URL. */
function finished(source, token, options) {
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(source, {
      headers: { Authorization: `Bearer ${token}` }, retryDelays: RETRIES, onError: reject, onSuccess: () => resolve(upload.url), ...options,
    });
    upload.start();
  });
}

// With data in the creation, the client cannot read an empty file. And it does not learn the URL of an upload whose first request
// was cut: it begins again.
const source = (file, options) => (options?.uploadDataDuringCreation ? file.bytes : createReadStream(file.path));
const again = (options) => options?.uploadDataDuringCreation && { again: CUT };

const tusV1 = (options) => ({
  upload: ({ url, token, file }) =>
    finished(source(file, options), token, { endpoint: `${url}/uploads/tus`, metadata: { filename: file.name, filetype: "video/mp4" }, ...options }),
  ...again(options),
});
// In these protocols the client completes an empty file only together with its creation, and a file that it reads from the disk
// only if it sends it in one request: the rest of such a file is said to be incomplete. So the files are in memory.
const draft = (protocol, options) => ({
  upload: ({ url, token, file }) => finished(file.bytes, token, { endpoint: `${url}/files`, protocol, ...options }),
  sizes: options?.uploadDataDuringCreation ? [0, 1, SIZE] : [1, SIZE],
  ...again(options),
});

const clients = {
  "tus-js-client": tusV1(),
  "tus-js-client in chunks of 1 MiB": tusV1({ chunkSize: MIB }),
  "tus-js-client with data in the creation": tusV1({ uploadDataDuringCreation: true }),
  "tus-js-client without PATCH": tusV1({ overridePatchMethod: true }),
};
for (const protocol of ["ietf-draft-05", "ietf-draft-03"]) {
  clients[`tus-js-client by ${protocol}`] = draft(protocol);
  clients[`tus-js-client by ${protocol} with data in the creation`] = draft(protocol, { uploadDataDuringCreation: true });
}

await testClients(clients, (server, proxy) => {
  const { session, assertStored } = api(server);
  const endpoint = `${proxy.url}/uploads/tus`;
  const headers = { Authorization: `Bearer ${server.token}` };

  /** Uploads `CUT` bytes, and stops. Resolves to the stopped upload. */
  const stopped = (file, options) =>
    new Promise((resolve, reject) => {
      const upload = new tus.Upload(createReadStream(file.path), { endpoint, headers, chunkSize: MIB, onError: reject, ...options,
        onChunkComplete: (_, sent) => sent >= CUT && upload.abort().then(() => resolve(upload)) });
      upload.start();
    });

  return {
    "another tus-js-client finds the stored URL and goes on": async () => {
      const file = newFile(SIZE);
      const storage = () => new tus.FileUrlStorage(join(file.state, "urls.json"));
      const first = await stopped(file, { urlStorage: storage() });
      proxy.sent = 0;
      const url = await new Promise((resolve, reject) => {
        const second = new tus.Upload(createReadStream(file.path), { endpoint, headers, urlStorage: storage(), onError: reject, onSuccess: () => resolve(second.url) });
        second.findPreviousUploads().then(([previous]) => { second.resumeFromPreviousUpload(previous); second.start(); }).catch(reject);
      });
      assert.equal(url, first.url);
      assert.ok(proxy.sent < SIZE - CUT + 0.1 * MIB, `sent ${proxy.sent} bytes`);
      await assertStored(url, file);
      file.remove();
    },
    "a terminated upload is aborted": async () => {
      const file = newFile(SIZE);
      const upload = await stopped(file);
      await upload.abort(true);
      assert.equal((await session(upload.url.split("/").pop())).status, "ABORTED");
      file.remove();
    },
    "while a complete upload cannot be stored, HEAD is 423, and the client goes on with the same URL": async () => {
      // An object store has no folder that a test could take away.
      if (process.env.TEST_STORAGE_URL) return;
      const [stored, away] = ["stored", "away"].map((name) => join(server.data, "files", name));
      const file = newFile(SIZE);
      const urls = [];
      const giveBack = () => existsSync(away) && renameSync(away, stored);
      const onAfterResponse = (request, response) => {
        urls.push(request.getURL());
        if (request.getMethod() === "HEAD" && response.getStatus() === 423) giveBack();
      };
      renameSync(stored, away);
      try {
        const url = await finished(createReadStream(file.path), server.token, { endpoint, onAfterResponse });
        assert.ok(existsSync(stored), "a HEAD was 423");
        assert.deepEqual([...new Set(urls)], [endpoint, url]);
        await assertStored(url, file);
      } finally {
        giveBack();
        file.remove();
      }
    },
    "metadata becomes the name, the type and the metadata of the file": async () => {
      const file = newFile(1);
      const metadata = { filename: "Ärger.mp4", filetype: "video/mp4", album: "2026", relativePath: "null" };
      const url = await finished(createReadStream(file.path), server.token, { endpoint, metadata });
      const stored = await assertStored(url, file);
      assert.deepEqual([stored.original_filename, stored.content_type, stored.metadata.album], ["Ärger.mp4", "video/mp4", "2026"]);
      file.remove();
    },
    "parallel uploads and uploads of an unknown size are refused": async () => {
      const file = newFile(2 * MIB);
      for (const options of [{ parallelUploads: 2 }, { uploadLengthDeferred: true }]) {
        await assert.rejects(finished(createReadStream(file.path), server.token, { endpoint, ...options }), /response code: 400/);
      }
      file.remove();
    },
  };
});
