// Checks of the page: its own uploads.
const assert = require("node:assert");
const { readFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { PART } = require("./support.cjs");

/** Drags files and folders of the disk above the page, as the system does. The last event is `drop` or `dragCancel`. */
async function drag(page, paths, last) {
  const send = await dragEvents(page, paths);
  for (const type of ["dragEnter", "dragOver"]) await send(type);
  await page.getByText("Drop to upload").waitFor();
  await send(last);
  await page.getByText("Drop to upload").waitFor({ state: "hidden" });
}

async function dragEvents(page, paths) {
  const session = await page.context().newCDPSession(page);
  return (type) => session.send("Input.dispatchDragEvent", { type, x: 700, y: 500, data: { items: [], files: paths, dragOperationsMask: 1 } });
}

const has = async (tools, file) => assert.ok((await tools.content(file.name)).equals(file.bytes), file.name);

module.exports = {
  "chosen files": async (tools) => {
    const { open, file, choose, status } = tools;
    const page = await open();
    const files = [file("a.bin"), file("empty.txt", 0), file("Übung 1.pdf", 10)];
    await choose(page, ...files);
    for (const { name } of files) await status(page, name, "stored");
    for (const sent of files) await has(tools, sent);
    await page.locator("#announcements").filter({ hasText: "is stored." }).waitFor({ state: "attached" });
  },
  "dropped files and folders, with their paths": async (tools) => {
    const { open, file, status, sessions, work, owner } = tools;
    const page = await open();
    const files = [file("trip/one.jpg"), file("trip/day 2/two.jpg"), file("alone.txt", 5)].map((sent) => ({ ...sent, name: sent.name.split("/").at(-1) }));
    await page.getByText("There are no uploads yet").waitFor();
    await drag(page, [files[2].path], "dragCancel");
    await drag(page, [join(work, owner, "trip"), files[2].path], "drop");
    for (const sent of files) await page.locator('[data-status="stored"]').filter({ hasText: sent.name }).waitFor();
    for (const sent of files) await has(tools, sent);
    assert.deepEqual((await sessions("two.jpg"))[0].file.metadata, { path: "trip/day 2/two.jpg" });
    assert.deepEqual((await sessions("alone.txt"))[0].file.metadata, {});
    await page.getByRole("heading", { name: "trip/day 2/two.jpg" }).waitFor();
  },
  "a file that is dropped on the sign-in form or a dialog is not taken, and the page stays": async (tools) => {
    const { open, file, session, button } = tools;
    await session("asked.bin", 2, [1]);
    const signIn = await open({ at: "/" });
    const page = await open();
    await button(page, "Abort", "asked.bin").click();
    for (const inactive of [signIn, page]) {
      const send = await dragEvents(inactive, [file("lost.txt", 5).path]);
      const dropped = await inactive.evaluateHandle(() => ({
        isPrevented: new Promise((resolve) => { addEventListener("drop", (event) => resolve(event.defaultPrevented)); }),
      }));
      for (const type of ["dragEnter", "dragOver"]) await send(type);
      assert.ok(await inactive.getByText("Drop to upload").isHidden());
      await send("drop");
      assert.equal(await dropped.evaluate(({ isPrevented }) => isPrevented), true);
    }
    await page.keyboard.press("Escape");
    assert.deepEqual(await tools.sessions("lost.txt"), []);
  },
  "a chosen folder": async (tools) => {
    const { open, file, sessions } = tools;
    const page = await open();
    const files = [file("album/b.jpg"), file("album/c/d.jpg")].map((sent) => ({ ...sent, name: sent.name.split("/").at(-1) }));
    await page.setInputFiles("#folder", dirname(files[0].path));
    await page.locator('[data-status="stored"]').nth(1).waitFor();
    for (const sent of files) await has(tools, sent);
    assert.deepEqual((await sessions("d.jpg"))[0].file.metadata, { path: "album/c/d.jpg" });
  },
  "pause and resume": async (tools) => {
    const { open, file, choose, status, row, button, arrived, holdAfter } = tools;
    const page = await open();
    const sent = file("paused.bin", 12 * PART);
    const release = holdAfter(4);
    await choose(page, sent);
    await arrived(sent.name, 4);
    await button(page, "Pause", sent.name).click();
    await status(page, sent.name, "paused");
    // What was under way does not count.
    const percent = Number(await row(page, sent.name).getByRole("progressbar").getAttribute("aria-valuenow"));
    assert.ok(percent > 0 && percent <= 33, `${percent}%`);
    release();
    await page.locator("#announcements").filter({ hasText: "paused.bin is paused." }).waitFor({ state: "attached" });
    await button(page, "Resume", sent.name).click();
    await status(page, sent.name, "stored");
    await has(tools, sent);
  },
  "after a reload in the middle, another file is refused, and the same file continues": async (tools) => {
    const { open, file, choose, chooseFor, status, row, button, arrived, holdAfter, sessions, proxy } = tools;
    const page = await open();
    const sent = file("reloaded.bin", 12 * PART);
    const release = holdAfter(4);
    const warned = [];
    page.on("dialog", (dialog) => { warned.push(dialog.type()); dialog.accept(); });
    await choose(page, sent);
    await arrived(sent.name, 4);
    // Browsers ask only people who have done something in the page.
    await button(page, "Pause", sent.name).click();
    await button(page, "Resume", sent.name).click();
    await page.reload();
    proxy.cut(); // What is under way does not arrive.
    release();
    assert.deepEqual(warned, ["beforeunload"]);
    await status(page, sent.name, "open", "arriving");
    const [before] = await sessions(sent.name);
    for (const wrong of [file("size.bin", 11 * PART), file("content.bin", 12 * PART)]) {
      await chooseFor(page, sent.name, wrong);
      await row(page, sent.name).getByText(`${wrong.name}: This is not the file`).waitFor();
      await status(page, sent.name, "open", "arriving");
    }
    assert.equal((await sessions(sent.name))[0].version, before.version);
    const puts = [];
    page.on("request", (request) => request.method() === "PUT" && puts.push(Number(request.headers()["part-number"])));
    await chooseFor(page, sent.name, sent);
    await status(page, sent.name, "stored");
    assert.ok(puts.every((number) => number > 4), `sent ${puts}`);
    assert.equal((await sessions(sent.name)).length, 1);
    await has(tools, sent);
  },
  "a file that is dropped again continues its session": async (tools) => {
    const { open, file, choose, status, session, put, sessions } = tools;
    const sent = file("again.bin", 4 * PART);
    const id = await session(sent.name, 4);
    await put(id, 3, sent.bytes.subarray(2 * PART, 3 * PART));
    const page = await open();
    await status(page, sent.name, "open");
    await choose(page, sent);
    await status(page, sent.name, "stored");
    assert.deepEqual((await sessions(sent.name)).map(({ session_id }) => session_id), [id]);
    await has(tools, sent);
  },
  "retry while the server is away": async (tools) => {
    const { open, file, choose, status, row, button, arrived, holdAfter, server } = tools;
    const page = await open();
    const sent = file("survivor.bin", 12 * PART);
    const release = holdAfter(4);
    await choose(page, sent);
    await arrived(sent.name, 4);
    await server.stop("SIGKILL");
    release();
    await row(page, sent.name).getByText("The server cannot be reached.").waitFor();
    await server.begin();
    await button(page, "Retry", sent.name).click({ timeout: 5000 }).catch(() => {}); // Or it has gone on by itself.
    await status(page, sent.name, "stored");
    await has(tools, sent);
  },
  "an upload that stalls says so, and one that another tab sends too": async (tools) => {
    const { open, file, choose, status, row, arrived, holdAfter, proxy } = tools;
    const page = await open();
    const sent = file("stalled.bin", 12 * PART);
    const release = holdAfter(4);
    await choose(page, sent);
    await arrived(sent.name, 4);
    await row(page, sent.name).getByText("512 KiB of 768 KiB").waitFor(); // Four parts wait for an answer.
    await page.evaluate(() => {
      const { now } = Date;
      Date.now = () => now() + 12_000;
    });
    await row(page, sent.name).getByText(/\(\d+%\) · no progress for 1\d s · from this page$/).waitFor();
    proxy.fault = ({ number }) => (number ? { status: 409, body: '{"code":"BUSY","retryable":true}' } : undefined);
    const other = file("shared.bin");
    await choose(page, other);
    await row(page, other.name).getByText("Another tab or device is sending this file too.").waitFor();
    release();
    for (const { name } of [sent, other]) await status(page, name, "stored");
  },
  "retry after a failure": async (tools) => {
    const { open, file, choose, status, row, button, proxy } = tools;
    const page = await open();
    const sent = file("refused.bin", 3 * PART);
    proxy.fault = ({ number }) => (number === 3 ? { status: 403, body: "{}" } : undefined);
    await choose(page, sent);
    await status(page, sent.name, "stopped");
    await row(page, sent.name).getByText("The server answered 403.").waitFor();
    await button(page, "Retry", sent.name).waitFor();
    proxy.fault = () => undefined;
    // The same file again does the same as the button.
    await choose(page, sent);
    await status(page, sent.name, "stored");
    assert.equal(await page.getByRole("listitem").count(), 1);
    await has(tools, sent);
  },
  "abort, after a question": async ({ open, file, choose, status, button, arrived, holdAfter, sessions }) => {
    const page = await open();
    const sent = file("mistake.bin", 12 * PART);
    const release = holdAfter(4);
    await choose(page, sent);
    await arrived(sent.name, 4);
    await button(page, "Abort", sent.name).click();
    await page.getByRole("dialog").getByText("mistake.bin").waitFor();
    await page.keyboard.press("Escape");
    assert.ok(await button(page, "Abort", sent.name).evaluate((element) => element === document.activeElement));
    await button(page, "Abort", sent.name).click();
    await page.getByRole("button", { name: "Abort upload" }).click();
    release();
    await status(page, sent.name, "aborted");
    assert.deepEqual((await sessions(sent.name)).map(({ status }) => status), ["ABORTED"]);
  },
  "abort while the session is being created": async ({ open, file, choose, status, button, sessions, proxy }) => {
    const page = await open();
    const sent = file("early.bin", 2 * PART);
    let release;
    const released = new Promise((done) => { release = done; });
    proxy.fault = ({ method, path }) => (method === "POST" && path === "/uploads/sessions" ? released : undefined);
    await choose(page, sent);
    await status(page, sent.name, "finding");
    await button(page, "Abort", sent.name).click();
    await page.getByRole("button", { name: "Abort upload" }).click();
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    release();
    await status(page, sent.name, "aborted");
    assert.equal(await page.getByRole("listitem").count(), 1);
    assert.deepEqual((await sessions(sent.name)).map(({ status }) => status), ["ABORTED"]);
  },
  "abort all, and what goes wrong": async ({ open, file, choose, status, row, arrived, holdAfter, proxy }) => {
    const page = await open();
    const files = [file("all-1.bin", 12 * PART), file("all-2.bin", 12 * PART)];
    const release = holdAfter(4);
    await choose(page, ...files);
    for (const { name } of files) await arrived(name, 4);
    const held = proxy.fault;
    proxy.fault = (request) => (request.method === "GET" && /sessions\/[^/]+$/.test(request.path) ? { status: 403, body: "{}" } : held(request));
    await page.getByRole("button", { name: "Abort all", exact: true }).click();
    await page.getByRole("dialog").getByText("2 uploads").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Abort all" }).click();
    for (const { name } of files) await row(page, name).getByText("The server answered 403.").waitFor();
    for (const { name } of files) await status(page, name, "aborted");
    release();
  },
  "600 small files at once": async ({ open, file, work, owner, sessions, api }) => {
    const page = await open();
    for (let number = 0; number < 600; number += 1) file(`many/${number}.txt`, 20);
    await page.setInputFiles("#folder", join(work, owner, "many"));
    await page.waitForFunction(() => /^\d+ uploading – Partway$/.test(document.title));
    await page.locator("#open-rest").filter({ hasText: /more, .* waiting/ }).waitFor();
    await page.evaluate(() => {
      window.most = 0;
      new MutationObserver(() => { window.most = Math.max(window.most, document.querySelectorAll("li").length); }).observe(document.body, { childList: true, subtree: true });
    });
    await page.locator("#batch-text").filter({ hasText: /: 600 stored\.$/ }).waitFor({ state: "attached", timeout: 120_000 });
    // The result stays until it is dismissed.
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.locator("#batch").waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "choose-files");
    const most = await page.evaluate(() => window.most);
    assert.ok(most <= 70, `${most} rows`);
    assert.equal((await api("GET", "/me")).open_sessions, 0);
    assert.equal((await sessions("599.txt"))[0].status, "COMPLETE");
    await page.getByRole("button", { name: "Show more ended uploads" }).click();
    await page.getByRole("listitem").nth(69).waitFor();
  },
  "downloads the same bytes; the link works; deletes": async (tools) => {
    const { open, file, choose, status, row, button, sessions, holdAfter } = tools;
    const page = await open({ context: { permissions: ["clipboard-read", "clipboard-write"] } });
    const [sent, other] = [file("report.pdf"), file("running.bin", 12 * PART)];
    await choose(page, sent);
    await status(page, sent.name, "stored");
    const release = holdAfter(4); // A download must not stop an upload.
    await choose(page, other);
    const downloading = page.waitForEvent("download");
    await button(page, "Download", sent.name).click();
    const download = await downloading;
    assert.equal(download.suggestedFilename(), sent.name);
    assert.ok(readFileSync(await download.path()).equals(sent.bytes));
    await button(page, "Copy link", sent.name).click();
    await row(page, sent.name).getByText(/Link copied\. Anyone with the link can download the file until /).waitFor();
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(Buffer.from(await (await fetch(link)).arrayBuffer()).equals(sent.bytes));
    await button(page, "Delete", sent.name).click();
    await page.getByRole("button", { name: "Delete file" }).click();
    await status(page, sent.name, "deleted");
    assert.equal((await sessions(sent.name))[0].file.status, "DELETED");
    assert.equal((await fetch(link)).status, 404);
    release();
    await status(page, other.name, "stored");
  },
  "without the clipboard, the link is shown": async ({ open, file, choose, status, button }) => {
    const page = await open();
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    const sent = file("shown.txt", 5);
    await choose(page, sent);
    await status(page, sent.name, "stored");
    await button(page, "Copy link", sent.name).click();
    const shown = page.getByRole("dialog").getByLabel("Link");
    const link = await shown.inputValue();
    assert.equal(await shown.evaluate((input) => input.value.slice(input.selectionStart, input.selectionEnd)), link);
    assert.ok(Buffer.from(await (await fetch(link)).arrayBuffer()).equals(sent.bytes));
    await page.getByRole("button", { name: "Close" }).click();
    assert.ok(await button(page, "Copy link", sent.name).evaluate((element) => element === document.activeElement));
  },
};
