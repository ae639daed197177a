// Uppy with its own plugin for tus in headless Chromium, on another origin than the server. The arguments are the path of the
// binary, and the folder with the packages of Uppy.
const assert = require("node:assert");
const { join } = require("node:path");
const { CUT, MIB, PART, SIZE, runUppy } = require("./uppy.cjs");

const uploads = ({ server, proxy, sessions, file, open, close, choose, upload, uploadUntil, untilStatus, assertStored }) => ({
  "files of 0 bytes, 1 byte and 20 MiB are stored": async () => {
    const page = await open();
    const files = [file("empty.bin", 0), file("one.bin", 1), file("twenty.bin", SIZE)];
    await choose(page, ...files);
    assert.deepEqual(await upload(page), []);
    await assertStored(...files);
    await close(page);
  },
  "after a reload in the middle, Golden Retriever goes on, and only missing bytes are sent": async () => {
    const page = await open();
    const chosen = file("reloaded.bin", SIZE);
    await choose(page, chosen);
    await uploadUntil(page, CUT, () => page.reload());
    proxy.sent = 0;
    await page.getByText("Session restored").waitFor();
    if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "uppy_tus_restored.png") });
    await page.locator(".uppy-StatusBar-actionBtn--upload").click();
    await page.getByText("Complete").first().waitFor();
    assert.ok(proxy.sent < SIZE - PART + 0.1 * MIB, `sent ${proxy.sent} bytes`);
    await assertStored(chosen);
    assert.equal((await sessions(chosen)).length, 1);
    await close(page);
  },
  "an upload goes on after a cut connection, and after the server was killed": async () => {
    for (const [name, meanwhile] of [["cut.bin", undefined], ["killed.bin", () => server.restart("SIGKILL")]]) {
      const page = await open();
      const chosen = file(name, SIZE);
      await choose(page, chosen);
      proxy.cutAfter(CUT, meanwhile);
      assert.deepEqual(await upload(page), []);
      await assertStored(chosen);
      assert.equal((await sessions(chosen)).length, 1);
      await close(page);
    }
  },
  "a removed file ends its session": async () => {
    const page = await open();
    const chosen = file("removed.bin", SIZE);
    await choose(page, chosen);
    await uploadUntil(page, CUT, () => page.evaluate(() => uppy.removeFile(uppy.getFiles()[0].id)));
    await untilStatus(chosen, "ABORTED");
    await close(page);
  },
});

async function main() {
  const { report } = await import("../clients/server.mjs");
  const { total, failures } = await runUppy({ page: "uppy_tus", modules: process.argv[3] }, uploads);
  report(total, failures);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
