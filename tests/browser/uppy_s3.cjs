// Uppy with the adapter of clients/uppy in headless Chromium, on another origin than the server. The arguments are the path
// of the binary, and the folder with the packages of Uppy.
const assert = require("node:assert");
const { randomBytes } = require("node:crypto");
const { join } = require("node:path");
const { CUT, MIB, PART, SIZE, runUppy } = require("./uppy.cjs");

const uploads = ({ server, proxy, pages, request, api, sessions, file, open, close, choose, upload, uploadUntil, untilStatus, assertStored }) => ({
  "files of 0 bytes, 1 byte and 20 MiB are stored": async () => {
    const page = await open();
    const files = [file("empty.bin", 0), file("one.bin", 1), file("twenty.bin", SIZE)];
    await choose(page, ...files);
    assert.deepEqual(await upload(page), []);
    await assertStored(...files);
    const { location, sha256 } = await page.evaluate(() => uppy.getFiles()[2].response.body);
    assert.equal(sha256, files[2].sha256);
    assert.match(location, /\/files\/[0-9a-f-]+\/content$/);
    await close(page);
  },
  "after a reload in the middle, Golden Retriever goes on, and only missing parts are sent": async () => {
    const page = await open({ limit: 1 });
    const chosen = file("reloaded.bin", SIZE);
    await choose(page, chosen);
    await uploadUntil(page, CUT, () => page.reload());
    assert.deepEqual((await sessions(chosen))[0].received_parts, ["1"]);
    page.puts.length = 0;
    await page.getByText("Session restored").waitFor();
    if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "uppy_restored.png") });
    await page.locator(".uppy-StatusBar-actionBtn--upload").click();
    await page.getByText("Complete").first().waitFor();
    assert.deepEqual(page.puts, [2, 3]);
    await assertStored(chosen);
    await close(page);
  },
  "another page that gets the same file sends only missing parts": async () => {
    const chosen = file("again.bin", SIZE);
    const first = await open({ limit: 1 });
    await choose(first, chosen);
    await uploadUntil(first, CUT, () => close(first));
    const second = await open();
    await choose(second, chosen);
    assert.deepEqual(await upload(second), []);
    assert.deepEqual(second.puts.sort(), [2, 3]);
    await assertStored(chosen);
    await close(second);
  },
  "an upload goes on after a cut connection, and after the server was killed": async () => {
    for (const [name, meanwhile] of [["cut.bin", undefined], ["killed.bin", () => server.restart("SIGKILL")]]) {
      const page = await open();
      const chosen = file(name, SIZE);
      await choose(page, chosen);
      proxy.cutAfter(CUT, meanwhile);
      assert.deepEqual(await upload(page), []);
      await assertStored(chosen);
      await close(page);
    }
  },
  "a paused upload goes on with missing parts": async () => {
    const page = await open({ limit: 1 });
    const chosen = file("paused.bin", SIZE);
    await choose(page, chosen);
    await uploadUntil(page, CUT, () => page.evaluate(() => uppy.pauseAll()));
    assert.deepEqual((await sessions(chosen))[0].received_parts, ["1"]);
    page.puts.length = 0;
    const complete = page.evaluate(() => new Promise((resolve) => uppy.once("complete", ({ failed }) => resolve(failed))));
    await page.evaluate(() => uppy.resumeAll());
    assert.deepEqual(await complete, []);
    assert.deepEqual(page.puts, [2, 3]);
    await assertStored(chosen);
    await close(page);
  },
  "a removed file and a cancelled upload end their sessions": async () => {
    const cancellations = [["removed.bin", () => uppy.removeFile(uppy.getFiles()[0].id)], ["cancelled.bin", () => uppy.cancelAll()]];
    for (const [name, cancel] of cancellations) {
      const page = await open();
      const chosen = file(name, SIZE);
      await choose(page, chosen);
      await uploadUntil(page, CUT, () => page.evaluate(cancel));
      await untilStatus(chosen, "ABORTED");
      await close(page);
    }
  },
  "a failed upload keeps its parts until its file is removed": async () => {
    const page = await open({ limit: 1 });
    const chosen = file("failed.bin", SIZE);
    const answer = { status: 400, headers: { "Access-Control-Allow-Origin": pages.origin }, json: { detail: "no", retryable: false } };
    await page.route("**/parts/2", (route) => route.fulfill(answer));
    await choose(page, chosen);
    assert.deepEqual(await upload(page), ["no"]);
    assert.deepEqual((await sessions(chosen))[0].received_parts, ["1"]);
    await page.evaluate(() => uppy.removeFile(uppy.getFiles()[0].id));
    await untilStatus(chosen, "ABORTED");
    await close(page);
  },
  "another try has the token of its time": async () => {
    const page = await open({ token: "pw_expired" });
    const chosen = file("token.bin", 6 * MIB);
    await choose(page, chosen);
    await assert.rejects(upload(page), /token/);
    await page.evaluate((token) => { window.token = token; }, server.token);
    assert.deepEqual(await upload(page), []);
    await assertStored(chosen);
    await close(page);
  },
  "if the session has ended, another try begins a new one": async () => {
    const page = await open({ limit: 1 });
    const chosen = file("ended.bin", SIZE);
    await choose(page, chosen);
    proxy.cutAfter(CUT, async () => api("DELETE", `/uploads/sessions/${(await sessions(chosen))[0].session_id}`));
    assert.match((await upload(page))[0], /ended/);
    assert.deepEqual(await upload(page, "retryAll"), []);
    await assertStored(chosen);
    await close(page);
  },
  "an upload with a part of another file does not succeed": async () => {
    const page = await open();
    const chosen = file("mixed.bin", SIZE);
    await choose(page, chosen);
    const uppy_id = await page.evaluate(() => uppy.getFiles()[0].id);
    const body = { original_filename: chosen.name, total_size_bytes: chosen.size, metadata: { uppy_id } };
    const { session_id } = await api("POST", "/uploads/sessions", body);
    await request("PUT", `/uploads/sessions/${session_id}/parts/2`, randomBytes(PART));
    assert.match((await upload(page))[0], /composite SHA-256/);
    assert.deepEqual(await upload(page, "retryAll"), []);
    await assertStored(chosen);
    await close(page);
  },
  "if the part size of the server has changed, another page begins a new session": async () => {
    const chosen = file("resized.bin", SIZE);
    const restartWith = (size) => {
      server.settings.PARTWAY_CHUNK_SIZE = `${size}`;
      return server.restart("SIGKILL");
    };
    await restartWith(PART - MIB);
    const first = await open({ limit: 1 });
    await choose(first, chosen);
    await uploadUntil(first, CUT, () => close(first));
    await restartWith(PART);
    const second = await open();
    await choose(second, chosen);
    assert.deepEqual(await upload(second), []);
    assert.deepEqual(second.puts.sort(), [1, 2, 3]);
    assert.deepEqual((await sessions(chosen)).map(({ chunk_size_bytes, status }) => [chunk_size_bytes, status]),
      [[PART, "COMPLETE"], [PART - MIB, "IN_PROGRESS"]]);
    await assertStored(chosen);
    await close(second);
  },
  "what the Dashboard clears after an upload stays stored": async () => {
    const page = await open();
    const chosen = file("cleared.bin", 1);
    await choose(page, chosen);
    assert.deepEqual(await upload(page), []);
    const deletions = [];
    page.on("request", (sent) => sent.method() === "DELETE" && deletions.push(sent.url()));
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByText("Drop files here").waitFor();
    assert.deepEqual(deletions, []);
    await assertStored(chosen);
    await close(page);
  },
});

const manyFiles = ({ file, open, close, choose, upload, assertStored }) => ({
  "more files than an owner may have open sessions are stored": async () => {
    const page = await open();
    const files = Array.from({ length: 40 }, (_, number) => file(`${number}.bin`, 1000 + number));
    await choose(page, ...files);
    assert.deepEqual(await upload(page), []);
    await assertStored(...files);
    await close(page);
  },
});

// The plugin's chunks have at least 5 MiB: here five or six parts.
const smallParts = ({ proxy, sessions, file, open, close, choose, upload, assertStored }) => ({
  "files in small parts are stored, and parts that had arrived are not sent again": async () => {
    const page = await open({ limit: 1 });
    const files = [file("small.bin", 5 * MIB), file("large.bin", 12 * MIB + 1)];
    await choose(page, ...files);
    proxy.cutAfter(14.5 * MIB);
    assert.deepEqual(await upload(page), []);
    assert.equal((await sessions(files[1]))[0].total_parts, 14);
    // At most the part that was cut is sent again; Chromium does that by itself on a connection that it had used before.
    assert.ok(page.puts.length <= 6 + 14 + 1, `${page.puts}`);
    await assertStored(...files);
    await close(page);
  },
});

async function main() {
  const { report } = await import("../clients/server.mjs");
  const setting = { page: "uppy_s3", modules: process.argv[3] };
  const runs = [
    await runUppy(setting, uploads),
    await runUppy({ ...setting, settings: { PARTWAY_MAX_OPEN_SESSIONS: "8" } }, manyFiles),
  ];
  // An object store accepts no parts below 5 MiB.
  const small = { PARTWAY_CHUNK_SIZE: "900KiB", PARTWAY_STORAGE: "" };
  runs.push(await runUppy({ ...setting, settings: small }, smallParts));
  report(runs.reduce((sum, { total }) => sum + total, 0), runs.flatMap(({ failures }) => failures));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
