// What each client of a resumable protocol must do: upload files of several sizes, and go on after its connection was cut and
// after the server was killed.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { proxyTo } from "./proxy.mjs";
import { report, withServer } from "./server.mjs";
import { run } from "./upload.mjs";

export const MIB = 1024 * 1024;
/** The default size of a part. */
export const PART = 8 * MIB;
/** The size of a file of three parts, and how much of it arrives before a cut: a part and the beginning of the next one. */
export const SIZE = 20 * MIB;
export const CUT = 10 * MIB;

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Requests to the REST API of a server. */
export function api({ url, token }) {
  const headers = { Authorization: `Bearer ${token}` };
  const json = { ...headers, "Content-Type": "application/json" };
  const request = (method, path, body, more) => fetch(url + path, { method, headers: { ...headers, ...more }, body });
  return {
    request,
    session: async (id) => (await request("GET", `/uploads/sessions/${id}`)).json(),
    graphql: async (query, variables) => {
      const response = await fetch(`${url}/graphql`, { method: "POST", headers: json, body: JSON.stringify({ query, variables }) });
      return (await response.json()).data;
    },
    /** The upload at this URL is stored with these bytes. It is the URL of an upload, or of a file. Resolves to the file's record. */
    assertStored: async (url, expected) => {
      const id = url.split("/").pop();
      let file;
      if (url.includes("/files/")) {
        file = await (await request("GET", `/files/${id}`)).json();
      } else {
        const session = await (await request("GET", `/uploads/sessions/${id}`)).json();
        assert.equal(session.status, "COMPLETE", JSON.stringify(session));
        file = session.file;
      }
      const content = await request("GET", `/files/${file.file_id}/content`);
      assert.equal(sha256(Buffer.from(await content.arrayBuffer())), expected.sha256);
      assert.ok([null, expected.sha256].includes(file.sha256));
      return file;
    },
  };
}

/** A new file of this size in a new folder, in which a client may keep its state. */
export function newFile(size) {
  const folder = mkdtempSync(join(tmpdir(), "partway-client-"));
  const [bytes, path] = [randomBytes(size), join(folder, "file.bin")];
  writeFileSync(path, bytes);
  mkdirSync(join(folder, "state"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  return { path, bytes, size, name: "file.bin", sha256: sha256(bytes), state: join(folder, "state"), remove };
}

/** Runs a program to its end. Resolves to what it printed; rejects if it failed. */
export function program(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], ...options });
    let printed = "";
    child.stdout.on("data", (chunk) => { printed += chunk; });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(printed.trim()) : reject(new Error(`${command} ended with ${code}: ${printed}`))));
  });
}

/**
 * Checks of a client. `upload({ url, token, file })` uploads the file, tries again by its own means until it is done, and
 * resolves to the URL of the upload, or of the file. `again` is the number of bytes that it may send twice after a cut.
 */
const checksOf = (name, { upload, again = 64 * 1024, sizes = [0, 1, SIZE] }, server, proxy) => {
  const { assertStored, request } = api(server);
  /** Waits until a part or more of the running upload is durable. */
  const untilDurable = async () => {
    for (const end = Date.now() + 20_000; ; ) {
      const { sessions: [newest] } = await (await request("GET", "/uploads/sessions?limit=1")).json();
      if (newest?.contiguous_bytes >= PART) return;
      assert.ok(Date.now() < end, "nothing of the upload is durable");
    }
  };
  const uploaded = async (size) => {
    const file = newFile(size);
    try {
      proxy.sent = 0;
      await assertStored(await upload({ url: proxy.url, token: server.token, file }), file);
    } finally {
      file.remove();
    }
  };
  // Beside the file, a client sends headers.
  const assertResumed = (twice) => {
    assert.equal(proxy.cuts, 1);
    assert.ok(proxy.sent <= SIZE + twice + 32 * 1024, `sent ${proxy.sent} bytes`);
  };
  return {
    [`${name} uploads ${sizes.join(", ")} bytes`]: async () => {
      for (const size of sizes) await uploaded(size);
    },
    [`${name} goes on after its connection was cut`]: async () => {
      proxy.cutAfter(CUT);
      await uploaded(SIZE);
      assertResumed(again);
    },
    // What arrived since the last whole part may be lost.
    [`${name} goes on after the server was killed`]: async () => {
      proxy.cutAfter(CUT, async () => {
        await untilDurable();
        await server.restart("SIGKILL");
      });
      await uploaded(SIZE);
      assertResumed(Math.max(again, PART));
    },
  };
};

/** Runs the checks of these clients and then `more(server, proxy)`, on one server. Reports the result. */
export async function testClients(clients, more = () => ({})) {
  let total, failures;
  await withServer(async (server) => {
    const proxy = await proxyTo(server.url);
    const own = Object.entries(clients).map(([name, client]) => checksOf(name, client, server, proxy));
    const checks = Object.assign({}, ...own, more(server, proxy));
    const each = (check) => async () => {
      proxy.cuts = 0;
      proxy.cutAfter(Infinity);
      await check();
    };
    total = Object.keys(checks).length;
    failures = await run(Object.fromEntries(Object.entries(checks).map(([name, check]) => [name, each(check)])));
    proxy.close();
  });
  report(total, failures);
}
