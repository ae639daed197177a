// What the tests of Uppy share: files, a page with an Uppy on another origin than the server, and what the server has stored.
const assert = require("node:assert");
const { createHash, randomBytes } = require("node:crypto");
const { mkdtempSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { launch } = require("./browser.cjs");
const { servePage } = require("./pages.cjs");

const MIB = 1024 * 1024;
exports.MIB = MIB;
/** The default size of a part. */
exports.PART = 8 * MIB;
/** The size of a file of three parts, and how much of it arrives before a break: a part and the beginning of the next one. */
exports.SIZE = 20 * MIB;
exports.CUT = 10 * MIB;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/**
 * Runs the checks that `checksOn` makes for a server with these settings. The page is pages/`page`.js, with the packages in
 * the folder `modules`. Resolves to the number of checks and the failures.
 */
exports.runUppy = async ({ page: name, modules, settings = {} }, checksOn) => {
  const { withServer } = await import("../clients/server.mjs");
  const { proxyTo } = await import("../clients/proxy.mjs");
  const { run } = await import("../clients/upload.mjs");
  const work = mkdtempSync(join(tmpdir(), "partway-uppy-"));
  const pages = await servePage(name, modules, join(work, "bundle"));
  const browser = await launch();
  let total, failures;
  try {
    await withServer(async (server) => {
      const proxy = await proxyTo(server.url);
      const checks = checksOn(context({ server, proxy, pages, browser, work }));
      total = Object.keys(checks).length;
      failures = await run(checks);
      proxy.close();
    }, { PARTWAY_CORS_ORIGINS: pages.origin, PARTWAY_FILE_SHA256: "always", ...settings });
  } finally {
    await browser.close();
    pages.close();
    rmSync(work, { recursive: true, force: true });
  }
  return { total, failures };
};

function context({ server, proxy, pages, browser, work }) {
  const headers = { Authorization: `Bearer ${server.token}`, "Content-Type": "application/json" };
  const request = (method, path, body) => fetch(server.url + path, { method, headers, body });
  const api = async (method, path, body) => JSON.parse((await (await request(method, path, body && JSON.stringify(body))).text()) || "null");
  const sessions = async ({ name }) => (await api("GET", `/uploads/sessions?original_filename=${name}`)).sessions;

  return {
    server, proxy, pages, request, api, sessions,

    /** A new file of this size. */
    file(name, size) {
      const bytes = randomBytes(size);
      writeFileSync(join(work, name), bytes);
      return { name, size, sha256: sha256(bytes), path: join(work, name) };
    },

    /** Opens the page in a new profile. `puts` has the numbers of the parts that it sends. */
    async open(options = {}) {
      const page = await (await browser.newContext()).newPage();
      page.puts = [];
      page.on("request", (sent) => sent.method() === "PUT" && page.puts.push(Number(sent.url().split("/").pop())));
      await page.goto(`${pages.origin}/#${new URLSearchParams({ server: proxy.url, token: server.token, ...options })}`);
      await page.waitForFunction(() => navigator.serviceWorker.controller);
      return page;
    },
    close: (page) => page.context().close(),
    choose: (page, ...files) => page.setInputFiles(".uppy-Dashboard-input >> nth=0", files.map(({ path }) => path)),

    /** Uploads what was chosen. Resolves to the errors of the files that failed. */
    upload: (page, method = "upload") => page.evaluate(async (method) => (await uppy[method]()).failed.map(({ error }) => error), method),

    /** Begins to upload what was chosen. When the server has got this number of bytes, it does `meanwhile` and cuts the connection. */
    uploadUntil: (page, bytes, meanwhile) =>
      new Promise((resolve, reject) => {
        proxy.cutAfter(bytes, () => meanwhile().then(resolve, reject));
        page.evaluate(() => void uppy.upload().catch(() => {})).catch(reject);
      }),

    /** Waits until the newest session of this file has this status. */
    async untilStatus(file, status) {
      for (const end = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
        const now = (await sessions(file))[0]?.status;
        if (now === status) return;
        assert.ok(Date.now() < end, `the session of ${file.name} is ${now}, not ${status}`);
      }
    },

    /** Each file is stored, once, with its bytes. */
    async assertStored(...files) {
      for (const file of files) {
        const [session, ...others] = (await sessions(file)).filter(({ status }) => status === "COMPLETE");
        assert.ok(session && others.length === 0, `${file.name} is stored once`);
        const content = await request("GET", `/files/${session.file.file_id}/content`);
        assert.equal(sha256(Buffer.from(await content.arrayBuffer())), file.sha256, file.name);
      }
    },
  };
}
