// One upload by several protocols against the real binary: tuspy begins, REST sends a part, GraphQL looks, tus-js-client ends.
// The second argument is the folder of a virtual environment that has tuspy.
import assert from "node:assert";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import * as tus from "tus-js-client";
import { CUT, MIB, PART, SIZE, api, newFile, program, testClients } from "./resuming.mjs";

const SCRIPT = `
import sys
from tusclient.client import TusClient
endpoint, token, path, stop = sys.argv[1:]
uploader = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"}).uploader(path, chunk_size=2**20, metadata={"filename": "mixed.bin"})
uploader.upload(stop_at=int(stop))
print(uploader.url)
`;

await testClients({}, (server, proxy) => ({
  "an upload by tuspy, REST and tus-js-client has the right bytes": async () => {
    const { request, graphql, assertStored } = api(server);
    const file = newFile(3 * PART + 2 * MIB + 1);
    const python = join(process.argv[3], "bin", "python");
    const url = await program(python, ["-c", SCRIPT, `${proxy.url}/uploads/tus`, server.token, file.path, CUT]);
    const id = url.split("/").pop();

    const part = file.bytes.subarray(2 * PART, 3 * PART);
    assert.equal((await request("PUT", `/uploads/sessions/${id}/parts/3`, part)).status, 201);

    const query = "query($id: ID!) { uploadSession(id: $id) { status receivedPartsText contiguousBytes autoFinalize } }";
    const { uploadSession } = await graphql(query, { id });
    assert.deepEqual(uploadSession, { status: "IN_PROGRESS", receivedPartsText: "1,3", contiguousBytes: `${CUT}`, autoFinalize: true });

    proxy.sent = 0;
    await new Promise((resolve, reject) => {
      const headers = { Authorization: `Bearer ${server.token}` };
      new tus.Upload(createReadStream(file.path), { uploadUrl: url, headers, onSuccess: resolve, onError: reject }).start();
    });
    assert.ok(proxy.sent < file.size - CUT + MIB, `sent ${proxy.sent} bytes`);
    const stored = await assertStored(url, file);
    assert.equal(stored.original_filename, "mixed.bin");
    file.remove();
  },
  "a session of GraphQL is sent by tus, looked at by REST, and completed by the PUT of its last part": async () => {
    const { request, graphql, session, assertStored } = api(server);
    const file = newFile(SIZE);
    const mutation = "mutation($input: CreateUploadSessionInput!) { createUploadSession(input: $input) { uploadSession { id } userErrors { code } } }";
    const input = { originalFilename: file.name, totalSizeBytes: `${file.size}`, autoFinalize: true };
    const { createUploadSession } = await graphql(mutation, { input });
    const { id } = createUploadSession.uploadSession;
    const uploadUrl = `${proxy.url}/uploads/tus/${id}`;
    await new Promise((resolve, reject) => {
      const headers = { Authorization: `Bearer ${server.token}` };
      const upload = new tus.Upload(createReadStream(file.path), { uploadUrl, headers, chunkSize: MIB, onError: reject,
        onChunkComplete: (_, sent) => sent === CUT && upload.abort().then(resolve) });
      upload.start();
    });
    const { contiguous_bytes, received_parts, bytes_received } = await session(id);
    assert.deepEqual([contiguous_bytes, received_parts, bytes_received], [CUT, ["1"], PART]);

    const put = (number) => request("PUT", `/uploads/sessions/${id}/parts/${number}`, file.bytes.subarray((number - 1) * PART, number * PART));
    for (const number of [3, 2]) assert.equal((await put(number)).status, 201);
    await assertStored(uploadUrl, file);
    file.remove();
  },
}));
