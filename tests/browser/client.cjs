// partway-client (clients/js) in headless Chromium, on another origin than the server: as plain modules without a build, and the
// examples of its README and of docs/frontend.md. The argument is the path of the binary.
const assert = require("node:assert");
const { createHash, randomBytes } = require("node:crypto");
const { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join, resolve } = require("node:path");
const esbuild = require("esbuild");
const { launch } = require("./browser.cjs");
const { serve } = require("./pages.cjs");

const ROOT = resolve(__dirname, "../..");
const PACKAGE = join(ROOT, "clients/js");
const PART = 65536;
const PAGE = `<!doctype html><meta charset="utf-8"><input type="file" id="file">
<script type="importmap">{ "imports": { "partway-client": "/package/index.js" } }</script>
<script type="module" src="/main.js"></script>`;
const MAIN = "import * as client from 'partway-client'; Object.assign(window, client);";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Serves the package and what a test adds to `extra`: path -> [type, text, headers]. */
const servePages = (extra) =>
  serve((request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const file = join(PACKAGE, pathname.slice("/package/".length));
    const own = extra.get(pathname);
    if (own) return response.writeHead(200, { "Content-Type": own[0], ...own[2] }).end(own[1]);
    if (!pathname.startsWith("/package/") || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": "text/javascript" }).end(readFileSync(file));
  });

/** The code blocks of a document in this language. */
const codeOf = (document, language) =>
  [...readFileSync(join(ROOT, document), "utf8").matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))].map(([, code]) => code);

const checksOn = ({ server, proxy, pages, extra, browser, work, bundle }) => {
  const headers = { Authorization: `Bearer ${server.token}` };
  const api = async (path) => (await fetch(server.url + path, { headers })).json();
  const sessions = async ({ name }) => (await api(`/uploads/sessions?original_filename=${name}`)).sessions;

  const newFile = (name, parts) => {
    const bytes = randomBytes(parts * PART);
    writeFileSync(join(work, name), bytes);
    return { name, size: bytes.length, sha256: sha256(bytes), path: join(work, name) };
  };
  /** Opens a page; `puts` has the numbers of the parts that it sends. */
  const open = async ({ path = "/", init } = {}) => {
    const page = await (await browser.newContext()).newPage();
    page.puts = [];
    page.errors = [];
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => page.errors.push(String(error)));
    page.on("request", (sent) => sent.method() === "PUT" && page.puts.push(Number(sent.headers()["part-number"])));
    if (init) await page.addInitScript(init);
    await page.goto(pages.origin + path);
    return page;
  };
  /** Chooses the file, and begins its upload as `window.upload`. */
  const begin = async (page, file, options = {}) => {
    await page.waitForFunction(() => window.Partway);
    await page.setInputFiles("#file", file.path);
    await page.evaluate(({ url, token, options }) => {
      window.progress = [];
      window.states = [];
      window.upload = new Partway({ url, token }).upload(document.querySelector("#file").files[0], {
        ...options, onProgress: ({ bytesSent, bytesConfirmed, ranges }) => progress.push({ bytesSent, bytesConfirmed, ranges }),
        onState: (state) => states.push(state),
      });
    }, { url: proxy.url, token: server.token, options });
  };
  const result = (page) => page.evaluate(() => upload.then((file) => file, (error) => { throw new Error(`${error.code ?? ""} ${error.message}`); }));
  const confirmed = (page, bytes) => page.waitForFunction((bytes) => window.upload?.progress?.bytesConfirmed >= bytes, bytes);
  const assertStored = async (file) => {
    const stored = (await sessions(file)).filter(({ status }) => status === "COMPLETE");
    assert.ok(stored.length > 0, `${file.name} is stored`);
    for (const { file: { file_id: id } } of stored) {
      const content = await fetch(`${server.url}/files/${id}/content`, { headers });
      assert.equal(sha256(Buffer.from(await content.arrayBuffer())), file.sha256);
    }
  };
  const close = async (page) => {
    assert.deepEqual(page.errors, []);
    await page.context().close();
  };
  /** From now on, the parts after this number wait until `release`. */
  const holdAfter = (number) => {
    let release;
    const released = new Promise((done) => { release = done; });
    proxy.fault = (request) => (request.number > number ? released : undefined);
    return () => { proxy.fault = () => undefined; release(); };
  };

  return {
    "40 parts need one preflight, and progress is told within parts": async () => {
      const page = await open();
      const file = newFile("parts.bin", 40);
      proxy.preflights.length = 0;
      // On a slow line, several parts could ask for the permission before the first has it.
      proxy.fault = ({ method }) => (method === "OPTIONS" ? new Promise((resolve) => setTimeout(resolve, 200)) : undefined);
      await begin(page, file);
      assert.equal((await result(page)).sha256, file.sha256);
      proxy.fault = () => undefined;
      await assertStored(file);
      assert.deepEqual([...page.puts].sort((a, b) => a - b), Array.from({ length: 40 }, (_, index) => index + 1));
      assert.equal(proxy.preflights.filter((path) => path.endsWith("/parts")).length, 1);
      assert.deepEqual(await page.evaluate(() => states), ["finding", "sending", "finalizing", "done"]);
      const progress = await page.evaluate(() => window.progress);
      assert.deepEqual(progress.at(-1), { bytesSent: file.size, bytesConfirmed: file.size, ranges: [[1, 40]] });
      await close(page);
    },
    "bytes of a part count while they leave": async () => {
      const page = await open();
      const release = holdAfter(0);
      await begin(page, newFile("slow.bin", 2), { parallel: 1 });
      await page.waitForFunction(() => window.upload.progress.bytesSent > 0);
      assert.equal(await page.evaluate(() => upload.progress.bytesConfirmed), 0);
      release();
      await result(page);
      await close(page);
    },
    "after a reload in the middle, the rest is sent": async () => {
      const page = await open();
      const file = newFile("reloaded.bin", 20);
      const release = holdAfter(6);
      await begin(page, file, { parallel: 2 });
      await confirmed(page, 6 * PART);
      await page.reload();
      release();
      page.puts.length = 0;
      await begin(page, file);
      const { sessionId } = await result(page);
      assert.ok(page.puts.every((number) => number > 6), `sent ${page.puts}`);
      assert.ok((await page.evaluate(() => states)).includes("comparing"));
      const all = await sessions(file);
      assert.deepEqual([all.length, all[0].session_id], [1, sessionId]);
      await assertStored(file);
      await close(page);
    },
    "offline for 10 seconds: no request meanwhile, then it goes on": async () => {
      const page = await open();
      const file = newFile("offline.bin", 20);
      const release = holdAfter(6);
      await begin(page, file, { retryFor: 3000 });
      await confirmed(page, 6 * PART);
      await page.context().setOffline(true);
      // Chromium ends what is under way only when it notices; the proxy makes sure.
      proxy.cut();
      release();
      await page.waitForFunction(() => !navigator.onLine);
      await page.waitForTimeout(1000);
      page.puts.length = 0;
      await page.waitForTimeout(9000);
      assert.deepEqual(page.puts, []);
      assert.equal(await page.evaluate(() => upload.state), "sending");
      await page.context().setOffline(false);
      await result(page);
      await assertStored(file);
      await close(page);
    },
    "pause, resume, abort": async () => {
      const page = await open();
      const file = newFile("paused.bin", 20);
      const release = holdAfter(6);
      await begin(page, file);
      await confirmed(page, 6 * PART);
      await page.evaluate(() => upload.pause());
      release();
      assert.equal(await page.evaluate(() => upload.state), "paused");
      await page.evaluate(() => upload.resume());
      await result(page);
      await assertStored(file);
      const other = newFile("aborted.bin", 20);
      const releaseOther = holdAfter(6);
      await begin(page, other);
      await confirmed(page, 6 * PART);
      await page.evaluate(() => upload.abort({ session: true }));
      releaseOther();
      await assert.rejects(result(page), /aborted/);
      assert.equal((await sessions(other))[0].status, "ABORTED");
      await close(page);
    },
    "two tabs send one file at once": async () => {
      const tabs = [await open(), await open()];
      const file = newFile("tabs.bin", 20);
      const release = holdAfter(3);
      await begin(tabs[0], file);
      await confirmed(tabs[0], 3 * PART);
      await begin(tabs[1], file);
      await tabs[1].waitForFunction(() => states.includes("sending"));
      release();
      const files = await Promise.all(tabs.map(result));
      assert.equal(files[0].fileId, files[1].fileId);
      await assertStored(file);
      await Promise.all(tabs.map(close));
    },
    "digests come from a worker; without one, and without Web Crypto, from the page": async () => {
      const policy = { "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; connect-src *" };
      extra.set("/strict", ["text/html", PAGE, policy]);
      for (const [name, workers, options] of [
        ["worker.bin", 1, {}],
        ["strict.bin", 0, { path: "/strict" }],
        ["insecure.bin", 0, { init: () => Object.defineProperty(crypto, "subtle", { value: undefined }) }],
      ]) {
        const page = await open(options);
        let started = 0;
        page.on("worker", () => { started += 1; });
        const file = newFile(name, 10);
        await begin(page, file);
        await result(page);
        await assertStored(file);
        assert.equal(started, workers, name);
        await page.waitForFunction(() => true);
        assert.equal(page.workers().length, 0, `${name}: the worker ends with the upload`);
        await close(page);
      }
    },
    "a session is watched while the page sends": async () => {
      const page = await open();
      const file = newFile("watched.bin", 20);
      const release = holdAfter(6);
      await begin(page, file);
      await confirmed(page, 6 * PART);
      const watched = page.evaluate(async ({ url, token }) => {
        const seen = [];
        for await (const { status } of new Partway({ url, token }).watch(upload.sessionId)) { seen.push(status); window.seen = seen; }
        return seen;
      }, { url: proxy.url, token: server.token });
      await page.waitForFunction(() => window.seen?.length > 0);
      release();
      const seen = await watched;
      assert.deepEqual([seen[0], seen.at(-1)], ["IN_PROGRESS", "COMPLETE"]);
      await close(page);
    },
    "the plain example of the README": async () => {
      const [html] = codeOf("clients/js/README.md", "html");
      const [script] = codeOf("clients/js/README.md", "js");
      extra.set("/plain", ["text/html", html]);
      extra.set("/app.js", ["text/javascript", await bundle(script, "js")]);
      const file = newFile("plain.bin", 5);
      const page = await open({ path: "/plain" });
      await page.setInputFiles("#file", file.path);
      await page.waitForFunction(() => document.querySelector("#result").value.startsWith("stored as "));
      assert.equal(await page.evaluate(() => document.querySelector("#bar").value), file.size);
      await assertStored(file);
      await close(page);
    },
    "the React example of the README": async () => {
      const [example] = codeOf("clients/js/README.md", "jsx");
      const mount = `${example}
        import { createRoot } from 'react-dom/client';
        createRoot(document.querySelector('#root')).render(<Uploader onStored={(file) => { window.stored = file; }} />);`;
      extra.set("/react", ["text/html", '<!doctype html><div id="root"></div><script src="/react.js"></script>']);
      extra.set("/react.js", ["text/javascript", await bundle(mount, "jsx")]);
      const page = await open({ path: "/react" });
      const file = newFile("react.bin", 20);
      const release = holdAfter(6);
      await page.setInputFiles("input", file.path);
      await page.waitForFunction(() => document.querySelector("progress").value >= 6 / 20);
      await page.getByRole("button", { name: "Pause" }).click();
      await page.getByText("paused").waitFor();
      release();
      await page.getByRole("button", { name: "Resume" }).click();
      await page.waitForFunction(() => window.stored);
      assert.equal(await page.evaluate(() => stored.sha256), file.sha256);
      await assertStored(file);
      await close(page);
    },
    "the example of docs/frontend.md": async () => {
      const [script] = codeOf("docs/frontend.md", "js");
      extra.set("/short", ["text/html", '<!doctype html><input type="file"><progress></progress><script src="/short.js"></script>']);
      extra.set("/short.js", ["text/javascript", await bundle(script, "js")]);
      const page = await open({ path: "/short" });
      const file = newFile("short.bin", 5);
      const stored = page.waitForEvent("console", (message) => message.text().startsWith("stored"));
      await page.setInputFiles("input", file.path);
      assert.match((await stored).text(), /^stored \S+ [\w+/]{11}=$/);
      await assertStored(file);
      await close(page);
    },
  };
};

async function main() {
  const { withServer, report } = await import("../clients/server.mjs");
  const { run } = await import("../clients/upload.mjs");
  const { proxyTo } = await import("../../clients/js/test/proxy.js");
  const work = mkdtempSync(join(tmpdir(), "partway-client-"));
  // As npm would install it, so that the names in package.json are tested too.
  mkdirSync(join(work, "node_modules"));
  symlinkSync(PACKAGE, join(work, "node_modules/partway-client"));
  const extra = new Map([["/", ["text/html", PAGE]], ["/main.js", ["text/javascript", MAIN]]]);
  const pages = await servePages(extra);
  const browser = await launch();
  try {
    await withServer(async (server) => {
      const state = { fault: () => undefined, preflights: [] };
      const real = await proxyTo(server.url, (request) => {
        if (request.method === "OPTIONS") state.preflights.push(request.path.split("?")[0]);
        return state.fault(request);
      });
      Object.assign(state, { url: real.url, cut: real.cut });
      extra.set("/token", ["text/plain", server.token]);
      const bundle = async (contents, loader) => {
        const code = contents.replaceAll("https://uploads.example.org", real.url);
        const nodePaths = [join(work, "node_modules"), ...(process.env.NODE_PATH ?? "").split(":")];
        const { outputFiles } = await esbuild.build({
          stdin: { contents: code, loader, resolveDir: work }, bundle: true, write: false, nodePaths, jsx: "automatic", logLevel: "error",
          define: { "process.env.NODE_ENV": '"production"' },
        });
        return outputFiles[0].text;
      };
      const checks = checksOn({ server, proxy: state, pages, extra, browser, work, bundle });
      const chosen = Object.entries(checks).filter(([name]) => name.includes(process.argv[3] ?? ""));
      const failures = await run(Object.fromEntries(chosen));
      report(chosen.length, failures);
      real.close();
    }, { PARTWAY_CORS_ORIGINS: pages.origin, PARTWAY_CHUNK_SIZE: String(PART), PARTWAY_FILE_SHA256: "always" });
  } finally {
    await browser.close();
    pages.close();
    rmSync(work, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
