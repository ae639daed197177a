// What the checks of the page share: an owner, a browser context and files for each check, and what must never happen in the page.
const assert = require("node:assert");
const { execFileSync } = require("node:child_process");
const { createHash, randomBytes } = require("node:crypto");
const { mkdirSync, writeFileSync } = require("node:fs");
const { dirname, join } = require("node:path");

const PART = 65536;
exports.PART = PART;
exports.sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The tools for one check: `stage` has the server, the proxy in front of it, the browser and a folder. */
exports.toolsOn = (stage, number) => {
  const { server, proxy, browser, work } = stage;
  const owner = `owner${number}`;
  const cli = (...args) => execFileSync(server.binary, [...args, "--data", server.data], { env: { ...process.env, ...server.settings }, encoding: "utf8", stdio: "pipe" });
  const newToken = (name = "browser") => cli("token", "create", "--owner", owner, "--name", name).match(/pw_\S+/)[0];
  const token = newToken();
  const tools = { ...stage, owner, cli, newToken, token };
  const pages = [];

  tools.api = async (method, path, body, headers = {}) => {
    const sent = body === undefined || body instanceof Uint8Array ? { body } : { body: JSON.stringify(body), json: { "Content-Type": "application/json" } };
    const response = await fetch(server.url + path, { method, body: sent.body, headers: { Authorization: `Bearer ${token}`, ...sent.json, ...headers } });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  };
  /** A session of another client, with these parts (of zeros). */
  tools.session = async (name, parts, received = [], more = {}) => {
    const { session_id: id } = await tools.api("POST", "/uploads/sessions", { original_filename: name, total_size_bytes: parts * PART, ...more });
    for (const part of received) await tools.put(id, part);
    return id;
  };
  tools.put = (id, part, bytes = new Uint8Array(PART)) => tools.api("PUT", `/uploads/sessions/${id}/parts/${part}`, bytes);
  tools.sessions = async (name) => (await tools.api("GET", `/uploads/sessions?original_filename=${encodeURIComponent(name)}`)).sessions;
  tools.content = async (name) => {
    const stored = (await tools.sessions(name)).filter(({ file }) => file.status === "STORED");
    assert.equal(stored.length, 1, `${name} is stored once`);
    const response = await fetch(`${server.url}/files/${stored[0].file.file_id}/content`, { headers: { Authorization: `Bearer ${token}` } });
    return Buffer.from(await response.arrayBuffer());
  };

  /** A file of the local disk. */
  tools.file = (name, size = 3 * PART) => {
    const path = join(work, owner, name);
    const bytes = randomBytes(size);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return { name, path, bytes };
  };

  /** Opens an address of the page in a browser context of its own. */
  tools.open = async ({ at = `/#token=${token}`, origin = proxy.url, viewport = { width: 1440, height: 900 }, context: options = {} } = {}) => {
    const context = await browser.newContext({ viewport, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on("filechooser", () => {}); // From the beginning: Playwright takes choosers over only some time after it has been told to.
    watch(page, new URL(origin).origin, token);
    pages.push(page);
    await page.goto(origin + at);
    await page.locator("#app, #sign-in").filter({ visible: true }).waitFor();
    return page;
  };
  /** The row of an upload. */
  tools.row = (page, name) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name, exact: true }) });
  tools.status = (page, name, ...statuses) => tools.row(page, name).and(page.locator(statuses.map((status) => `[data-status="${status}"]`).join())).waitFor();
  /** Waits until the server has this many parts of the upload. */
  tools.arrived = async (name, parts) => {
    for (const deadline = Date.now() + 10_000; ;) {
      const [session] = await tools.sessions(name);
      if (session?.completed_parts >= parts) return;
      assert.ok(Date.now() < deadline, `${name}: ${session?.completed_parts} parts`);
    }
  };
  tools.button = (page, action, name) => page.getByRole("button", { name: `${action} ${name}`, exact: true });
  tools.choose = (page, ...files) => page.setInputFiles("#files", files.map(({ path }) => path));
  /** Clicks the button, and gives the file to the chooser that opens. */
  tools.chooseFor = async (page, name, file) => {
    const chooser = page.waitForEvent("filechooser");
    chooser.catch(() => {}); // If the click fails, that is the failure to report.
    await tools.button(page, "Choose the file to continue", name).click();
    await (await chooser).setFiles(file.path);
  };
  /** From now on, parts after this number wait until `release`. */
  tools.holdAfter = (number) => {
    let release;
    const released = new Promise((done) => { release = done; });
    proxy.fault = (request) => (request.number > number ? released : undefined);
    return () => { proxy.fault = () => undefined; release(); };
  };
  tools.end = async () => {
    proxy.fault = () => undefined;
    for (const page of pages) {
      if (!page.isClosed()) await page.context().close({ runBeforeUnload: false });
      assert.deepEqual(page.complaints, []);
    }
  };
  return tools;
};

/** Collects what must not happen: errors, violations of the policy, requests to other places, the token in an address. */
function watch(page, origin, token) {
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(`error: ${error.stack ?? error}`));
  // Chromium writes a line for each answer that is an error, which some checks want.
  page.on("console", (message) => message.type() === "error" && !message.text().startsWith("Failed to load resource") && page.complaints.push(message.text()));
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(data|blob):/.test(url) && new URL(url).origin !== origin) page.complaints.push(`another origin: ${url}`);
    if (url.split("#")[0].includes(token) || request.headers().referer?.includes(token)) page.complaints.push(`the token is in an address: ${url}`);
  });
}
