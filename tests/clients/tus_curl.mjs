// curl against the real binary: by tus, by the IETF's protocol, and whole files in one request.
import assert from "node:assert";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SIZE, api, newFile, testClients } from "./resuming.mjs";

const headers = (values) => Object.entries(values).flatMap(([name, value]) => ["--header", `${name}: ${value}`]);

/** Runs curl. Resolves to the final answer's status, headers and body, and to the interim answers. Without a final answer it has no status. */
async function curl(...args) {
  const printed = await new Promise((resolve, reject) => {
    execFile("curl", ["--silent", "--include", "--max-time", "60", ...args], (error, stdout) => (error?.code === "ENOENT" ? reject(error) : resolve(stdout)));
  });
  let rest = printed;
  const interim = [];
  for (;;) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return { interim };
    const [first, ...lines] = rest.slice(0, end).split("\r\n");
    rest = rest.slice(end + 4);
    const fields = lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]);
    const answer = { status: Number(first.split(" ")[1]), headers: Object.fromEntries(fields) };
    if (answer.status >= 200) return { ...answer, interim, body: rest };
    interim.push(answer);
  }
}

const TUS = { "Tus-Resumable": "1.0.0" };
const base64 = (text) => Buffer.from(text).toString("base64");

/** Sends what the server does not have, as often as the connection breaks: HEAD tells the offset, PATCH sends the rest. */
async function sendRest(url, own, file, patch) {
  for (let tries = 0; tries < 150; tries += 1) {
    const head = await curl("--head", ...headers(own), url);
    if (head.status < 300) {
      const offset = Number(head.headers["upload-offset"]);
      if (offset === file.size) return;
      const rest = join(file.state, "rest");
      writeFileSync(rest, file.bytes.subarray(offset));
      const sent = await curl("--request", "PATCH", "--data-binary", `@${rest}`, ...headers({ ...own, ...patch, "Upload-Offset": offset, Expect: "" }), url);
      if (sent.status < 300) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the file was not sent");
}

async function byTus({ url, token, file }) {
  const own = { Authorization: `Bearer ${token}`, ...TUS };
  const metadata = `filename ${base64(file.name)}`;
  const created = await curl("--request", "POST", ...headers({ ...own, "Upload-Length": file.size, "Upload-Metadata": metadata }), `${url}/uploads/tus`);
  assert.equal(created.status, 201);
  await sendRest(created.headers.location, own, file, { "Content-Type": "application/offset+octet-stream" });
  return created.headers.location;
}

/** By interop version 8. The server tells the URL of the upload in a 104, so that curl can go on if the first request breaks. */
async function byResumable({ url, token, file }) {
  const own = { Authorization: `Bearer ${token}`, "Upload-Draft-Interop-Version": 8 };
  const whole = { "Upload-Complete": "?1", "Upload-Length": file.size, Expect: "", "Content-Disposition": `attachment; filename="${file.name}"` };
  const created = await curl("--request", "POST", "--data-binary", `@${file.path}`, ...headers({ ...own, ...whole }), `${url}/files`);
  if (created.status === 201) return created.headers.location;
  const [{ status, headers: { location } }] = created.interim;
  assert.equal(status, 104);
  await sendRest(location, own, file, { "Content-Type": "application/partial-upload", "Upload-Complete": "?1" });
  return location;
}

await testClients({ "curl by tus": { upload: byTus }, "curl by the IETF's protocol": { upload: byResumable } }, (server, proxy) => {
  const { request, assertStored, session } = api(server);
  const own = { Authorization: `Bearer ${server.token}` };
  const endpoint = `${proxy.url}/uploads/tus`;
  const create = async (values) => curl("--request", "POST", ...headers({ ...own, ...TUS, ...values }), endpoint);
  const patch = async (url, bytes, values = {}) =>
    curl("--request", "PATCH", "--data-binary", bytes, ...headers({ ...own, ...TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": 0, ...values }), url);
  const head = async (url) => curl("--head", ...headers({ ...own, ...TUS }), url);

  return {
    "curl sends a whole file in one request": async () => {
      for (const size of [0, 1, SIZE]) {
        const file = newFile(size);
        const stored = await curl("--data-binary", `@${file.path}`, ...headers({ ...own, "Content-Type": "video/mp4", "Content-Disposition": `attachment; filename="${file.name}"` }), `${proxy.url}/files`);
        assert.equal(stored.status, 201);
        const record = JSON.parse(stored.body);
        assert.deepEqual([record.original_filename, record.content_type, record.size_bytes], [file.name, "video/mp4", size]);
        assert.match(stored.headers.location, new RegExp(`/files/${record.file_id}$`));
        const content = await request("GET", `/files/${record.file_id}/content`);
        assert.ok(file.bytes.equals(Buffer.from(await content.arrayBuffer())));
        file.remove();
      }
    },
    "OPTIONS tells what the server can do, without a token": async () => {
      const { status, headers: told } = await curl("--request", "OPTIONS", endpoint);
      assert.equal(status, 204);
      assert.equal(told["tus-version"], "1.0.0");
      const extensions = told["tus-extension"].split(",").sort();
      assert.deepEqual(extensions, ["checksum", "creation", "creation-with-upload", "expiration", "termination"]);
      assert.deepEqual(told["tus-checksum-algorithm"].split(",").sort(), ["sha1", "sha256"]);
      assert.ok(Number(told["tus-max-size"]) > 0);
    },
    "each refusal of tus has its status": async () => {
      assert.equal((await create({ "Tus-Resumable": "0.2.2", "Upload-Length": 1 })).status, 412);
      assert.equal((await create({ "Upload-Length": 1, "Upload-Concat": "partial" })).status, 400);
      assert.equal((await create({ "Upload-Defer-Length": 1 })).status, 400);
      assert.equal((await create({ "Upload-Length": 2 ** 52 })).status, 413);
      assert.equal((await create({ "Upload-Length": 1, Authorization: "Bearer wrong" })).status, 401);
      const { status, headers: { location } } = await create({ "Upload-Length": 10 });
      assert.equal(status, 201);
      assert.equal((await patch(location, "12345", { "Content-Type": "text/plain" })).status, 415);
      assert.equal((await patch(location, "12345", { "Upload-Offset": 3 })).status, 409);
      assert.equal((await patch(location, "12345678901")).status, 413);
      assert.equal((await patch(location, "12345", { "Upload-Checksum": "crc32 AAAA" })).status, 400);
      assert.equal((await patch(location, "12345", { "Upload-Checksum": `sha1 ${base64("12345678901234567890")}` })).status, 460);
      assert.equal((await head(location)).headers["upload-offset"], "0");
      const sent = await patch(location, "12345");
      assert.deepEqual([sent.status, sent.headers["upload-offset"], sent.headers["tus-resumable"]], [204, "5", "1.0.0"]);
      assert.equal((await session(location.split("/").pop())).contiguous_bytes, 5);
      assert.equal((await curl("--request", "DELETE", ...headers({ ...own, ...TUS }), location)).status, 204);
      assert.equal((await head(location)).status, 410);
      assert.equal((await head(`${endpoint}/01890000-0000-7000-8000-000000000000`)).status, 404);
    },
    "a wrong SHA-256 of the whole file ends the upload": async () => {
      const { headers: { location } } = await create({ "Upload-Length": 1, "Upload-Metadata": `sha256 ${base64("0".repeat(64))}` });
      assert.equal((await patch(location, "x")).status, 460);
      assert.equal((await head(location)).status, 410);
    },
    "the upload URL of a complete upload leads to the file": async () => {
      const file = newFile(1);
      const url = await byTus({ url: proxy.url, token: server.token, file });
      const { file_id } = await assertStored(url, file);
      const { status, headers: { location } } = await curl(...headers(own), url);
      assert.equal(status, 303);
      assert.match(location, new RegExp(`/files/${file_id}/content$`));
      file.remove();
    },
  };
});
