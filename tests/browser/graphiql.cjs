// Opens /graphiql of the real binary in headless Chromium, as the link of a first start does, and runs the prefilled
// query, then a subscription while parts arrive. Fails on a violation of the Content-Security-Policy, on a request to another host, and on a token in a URL.
// The same behind a proxy that serves Partway under a path and rewrites `Host`.
const { spawn } = require("node:child_process");
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const assert = require("node:assert");
const { launch } = require("./browser.cjs");
const { belowPath } = require("./pages.cjs");

/** The default size of a part. */
const PART = 8 * 1024 * 1024;

/** Starts `partway serve` on a folder of its own; resolves to what it printed at its first start. */
function serve(binary, data) {
  const server = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--data", data], { stdio: ["ignore", "pipe", "ignore"] });
  const link = new Promise((resolve, reject) => {
    let printed = "";
    server.stdout.on("data", (chunk) => {
      printed += chunk;
      const found = printed.match(/http:\S+\/graphiql#token=\S+/);
      if (found) resolve(found[0]);
    });
    server.on("exit", (code) => reject(new Error(`the server ended: ${code}`)));
  });
  return { server, link };
}

async function create(base, token) {
  const response = await fetch(`${base}/uploads/sessions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ original_filename: "holiday.mp4", total_size_bytes: 5 * PART }),
  });
  assert.equal(response.status, 201);
  return (await response.json()).session_id;
}

/** Watches an upload in GraphiQL: the result has to follow the parts as they come. */
async function watch(page, base, token, id) {
  await page.locator(".graphiql-query-editor .CodeMirror").click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.insertText(`subscription Watch { uploadSession(id: "${id}") { status receivedPartsText } }`);
  // GraphiQL has read the document when the tab has its name.
  await page.getByRole("tab", { name: "Watch" }).waitFor();
  await page.locator(".graphiql-execute-button").click();
  await page.locator(".result-window", { hasText: "INIT" }).waitFor();
  const put = (number, size) =>
    fetch(`${base}/uploads/sessions/${id}/parts/${number}`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${token}` },
      body: new Uint8Array(size),
    });
  assert.equal((await put(3, PART)).status, 201);
  await page.locator(".result-window", { hasText: '"receivedPartsText": "3"' }).waitFor();
  assert.equal((await put(4, PART)).status, 201);
  await page.locator(".result-window", { hasText: '"receivedPartsText": "3-4"' }).waitFor();
}

async function check(browser, link) {
  const url = new URL(link);
  const token = url.hash.slice("#token=".length);
  const base = url.href.slice(0, url.href.indexOf("/graphiql"));
  const id = await create(base, token);
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const [requests, complaints] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });

  await page.goto(link);
  await page.locator(".graphiql-execute-button").click();
  await page.locator(".result-window", { hasText: "holiday.mp4" }).waitFor();
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, "graphiql.png") });

  await watch(page, base, token, id);

  assert.deepEqual(await page.evaluate(() => window.violations), []);
  assert.deepEqual(complaints, []);
  const foreign = requests.filter((request) => !request.startsWith(url.origin) && !request.startsWith("data:") && !request.startsWith("blob:"));
  assert.deepEqual(foreign, [], "requests to other hosts");
  assert.ok(!requests.some((request) => request.split("#")[0].includes(token)), "the token is in a URL that was sent");
  assert.ok(!page.url().includes(token), "the token is in the address bar");
  assert.ok(await page.locator("#token-form").isHidden());
}

async function main() {
  const data = mkdtempSync(join(tmpdir(), "partway-browser-"));
  const { server, link } = serve(process.argv[2], data);
  const started = await link;
  const proxied = await belowPath(started);
  const browser = await launch();
  try {
    await check(browser, started);
    const { pathname, hash } = new URL(started);
    await check(browser, `${proxied.origin}/partway${pathname}${hash}`);
    console.log("2 passed, 0 failed");
  } finally {
    await browser.close();
    proxied.close();
    server.removeAllListeners("exit");
    server.kill("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
