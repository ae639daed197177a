// Checks of the page: the list of all uploads.
const assert = require("node:assert");

const names = (page) => page.getByRole("listitem").getByRole("heading").allTextContents();
const named = (page, ...wanted) => page.waitForFunction((wanted) =>
  JSON.stringify([...document.querySelectorAll("li h4")].map(({ textContent }) => textContent)) === JSON.stringify(wanted), wanted);

module.exports = {
  "an upload of another client appears, moves and ends": async ({ open, session, put, api, status, row }) => {
    const page = await open();
    await page.getByText("There are no uploads yet").waitFor();
    const id = await session("live.iso", 10, [1, 2]);
    await row(page, "live.iso").getByText("128 KiB of 640 KiB (20%)").waitFor();
    for (const part of [9, 10, 3, 4]) await put(id, part);
    await row(page, "live.iso").getByText("384 KiB of 640 KiB (60%)").waitFor();
    await status(page, "live.iso", "arriving");
    await row(page, "live.iso").getByText(/KiB\/s · .+ left/).waitFor();
    const bar = row(page, "live.iso").getByRole("progressbar", { name: "Progress of live.iso" });
    assert.equal(await bar.getAttribute("aria-valuetext"), "60%, 384 KiB of 640 KiB");
    for (const part of [5, 6, 7, 8]) await put(id, part);
    await api("POST", `/uploads/sessions/${id}/finalize`);
    await status(page, "live.iso", "stored");
    const [{ file }] = (await api("GET", "/uploads/sessions?original_filename=live.iso")).sessions;
    await api("DELETE", `/files/${file.file_id}`);
    await status(page, "live.iso", "deleted");
  },
  "the page says when the server is away, and goes on when it is back": async ({ open, session, api, row, server }) => {
    const id = await session("away.bin", 2, [1]);
    const page = await open({ origin: server.url });
    await row(page, "away.bin").waitFor();
    await server.stop("SIGKILL");
    await page.getByRole("status").filter({ hasText: "The list will update when it is back" }).waitFor();
    await server.begin();
    await api("DELETE", `/uploads/sessions/${id}`);
    await page.locator('[data-status="aborted"]').filter({ hasText: "away.bin" }).waitFor();
    await page.locator("#notice:empty").waitFor({ state: "attached" });
  },
  "a list that cannot be loaded is loaded by the next click; each notice stays as long as its cause": async ({ open, session, api, proxy, owner }) => {
    await session("open.bin", 1);
    const stored = ["old", "new"].map((name) => `${owner}-${name}.txt`);
    for (const name of stored) await api("POST", "/files", new Uint8Array(1), { "Content-Disposition": `attachment; filename="${name}"` });
    const isList = ({ path }) => path.startsWith("/uploads/sessions?");
    const isStream = ({ path }) => path === "/uploads/events";
    proxy.fault = (request) => (isList(request) ? { status: 403, body: "{}" } : isStream(request) ? { status: 503, body: "{}" } : undefined);
    const page = await open();
    const notice = page.locator("#notice");
    await notice.filter({ hasText: "answered 503" }).filter({ hasText: "The list cannot be loaded: The server answered 403." }).waitFor();
    proxy.fault = (request) => (isList(request) ? { status: 403, body: "{}" } : undefined);
    await notice.filter({ hasText: /^The list cannot be loaded: The server answered 403\.$/ }).waitFor();
    proxy.fault = () => undefined;
    await page.getByRole("button", { name: "Show more ended uploads" }).click();
    await named(page, "open.bin", ...stored.reverse());
    await page.locator("#notice:empty").waitFor({ state: "attached" });
  },
  "an open row that ends moves no other row": async ({ open, session, api, status, row }) => {
    const ids = [];
    for (const name of ["1.bin", "2.bin", "3.bin"]) ids.push(await session(name, 2));
    const page = await open();
    await row(page, "1.bin").waitFor();
    await page.evaluate(() => {
      window.moved = 0;
      new MutationObserver((changes) => { for (const { addedNodes } of changes) window.moved += addedNodes.length; })
        .observe(document.querySelector("#open"), { childList: true });
    });
    await api("DELETE", `/uploads/sessions/${ids[2]}`); // That of the first row.
    await status(page, "3.bin", "aborted");
    assert.equal(await page.evaluate(() => window.moved), 0);
  },
  "the rate of another client, after any number of states": async ({ open }) => {
    const page = await open();
    const [rate, time] = await page.evaluate(async () => {
      const { Rate } = await import("./page/rate.js");
      const rate = new Rate();
      const { now } = Date;
      let time = 1;
      Date.now = () => time;
      for (let sample = 1; sample <= 200_000; sample += 1) { time += 100; rate.add(sample * 50); }
      const began = performance.now();
      const result = rate.now();
      Date.now = now;
      return [result, performance.now() - began];
    });
    assert.ok(Math.abs(rate - 500) < 10, `${rate} B/s`);
    assert.ok(time < 100, `${time} ms`);
  },
  "uploads by tus and by one request too": async ({ open, api, status, row }) => {
    const page = await open();
    await page.getByText("There are no uploads yet").waitFor();
    const name = Buffer.from("tus.bin").toString("base64");
    await api("POST", "/uploads/tus", undefined, { "Tus-Resumable": "1.0.0", "Upload-Length": "1000", "Upload-Metadata": `filename ${name}` });
    await status(page, "tus.bin", "open");
    await api("POST", "/files", new Uint8Array(10), { "Content-Disposition": 'attachment; filename="once.bin"' });
    await status(page, "once.bin", "stored");
    assert.ok(await row(page, "once.bin").getByText("10 B").isVisible());
  },
  "the bar has the received ranges": async ({ open, session, row }) => {
    await session("bar.iso", 10, [1, 2, 9]);
    const page = await open();
    await row(page, "bar.iso").waitFor();
    const canvas = row(page, "bar.iso").locator("canvas");
    await page.waitForFunction(() => document.querySelector("li canvas").width > 300);
    const drawn = await canvas.evaluate((element) => Array.from({ length: 10 }, (_, part) =>
      element.getContext("2d").getImageData(((part + 0.5) * element.width) / 10, 0, 1, 1).data[3] > 200));
    assert.deepEqual(drawn, [true, true, false, false, false, false, false, false, true, false]);
    // As many ranges as a large file can have, and parts that are narrower than a column.
    const columns = await page.evaluate(async () => {
      const { coverage } = await import("./page/ranges.js");
      const everyOther = Array.from({ length: 50_000 }, (_, index) => [2 * index + 1, 2 * index + 1]);
      return [[...coverage(everyOther, 100_000, 500)], [...coverage([[1, 100_000]], 100_000, 500)], [...coverage([[3, 4]], 4, 2)]];
    });
    assert.ok(columns[0].every((share) => Math.abs(share - 0.5) < 0.01));
    assert.ok(columns[1].every((share) => share === 1));
    assert.deepEqual(columns[2], [0, 1]);
  },
  "newest first, open ones before ended ones; more at a click": async ({ open, session, api, owner }) => {
    for (let number = 0; number < 45; number += 1) await api("POST", "/files", new Uint8Array(1), { "Content-Disposition": `attachment; filename="${owner}-${number}"` });
    await session("first", 1);
    await session("second", 1);
    const page = await open();
    const expected = ["second", "first", ...Array.from({ length: 20 }, (_, index) => `${owner}-${44 - index}`)];
    await named(page, ...expected);
    await page.getByRole("button", { name: "Show more ended uploads" }).click();
    await named(page, ...expected, ...Array.from({ length: 25 }, (_, index) => `${owner}-${24 - index}`));
    await page.getByRole("button", { name: "Show more ended uploads" }).waitFor({ state: "hidden" });
  },
  "search and filter": async ({ open, session, api, row, file, choose, status }) => {
    const stored = async (name) => (await api("POST", "/files", new Uint8Array(1), { "Content-Disposition": `attachment; filename="${name}"` })).file_id;
    await stored("needle.txt");
    for (let number = 0; number < 30; number += 1) await stored(`hay ${number}`);
    await api("DELETE", `/files/${await stored("deleted.txt")}`);
    await session("open.txt", 1);
    await api("DELETE", `/uploads/sessions/${await session("aborted.txt", 1)}`);
    const page = await open();
    const search = page.getByLabel("Name contains");
    await row(page, "deleted.txt").waitFor();
    await search.fill("TXT");
    await named(page, "open.txt", "aborted.txt", "deleted.txt");
    await search.fill("needle.txt");
    await page.getByText("No uploads match").or(page.getByRole("button", { name: "Show more ended uploads" })).first().waitFor();
    await search.press("Enter");
    await named(page, "needle.txt");
    await page.getByRole("button", { name: "Back to all uploads" }).click();
    await row(page, "open.txt").waitFor();
    assert.equal(await search.inputValue(), "");
    for (const [filter, ...wanted] of [["Open", "open.txt"], ["Failed or aborted", "aborted.txt"], ["Deleted", "deleted.txt"]]) {
      await page.getByLabel("Show", { exact: true }).selectOption({ label: filter });
      await named(page, ...wanted);
    }
    await page.getByLabel("Show", { exact: true }).selectOption({ label: "Stored" });
    await row(page, "hay 29").waitFor();
    assert.ok(!(await names(page)).includes("deleted.txt"));
    await search.fill("no such upload");
    await named(page);
    await page.getByText("None of the loaded uploads match.").waitFor();
    // What is added is in sight.
    await choose(page, file("added.txt", 5));
    await status(page, "added.txt", "stored");
    await row(page, "open.txt").waitFor();
    assert.equal(await search.inputValue(), "");
  },
  "an upload with all bytes can be stored": async ({ open, session, row, button, status }) => {
    await session("whole.iso", 2, [1, 2]);
    const page = await open();
    await row(page, "whole.iso").getByText("All bytes have arrived; not stored yet").waitFor();
    await button(page, "Store", "whole.iso").click();
    await status(page, "whole.iso", "stored");
  },
  "names and metadata are text": async ({ open, api, file, choose, status, session }) => {
    const name = '<img src=x onerror="document.title=1">.txt';
    await session(name, 1, [], { metadata: { path: `<b onclick=alert(1)>/${name}` } });
    await session("a\u202Etxt.exe", 1, [], { metadata: { path: { not: "text" } } });
    const page = await open();
    await page.getByRole("heading", { name: "a\\u202Etxt.exe", exact: true }).waitFor();
    await page.getByRole("heading", { name: `<b onclick=alert(1)>/${name}`, exact: true }).waitFor();
    const sent = file('<svg onload=document.title=2>.html');
    await choose(page, sent);
    await status(page, sent.name, "stored");
    // The title counts uploads until the page has the answer; the row may have its state from the stream before.
    await page.waitForFunction(() => document.title === "Partway");
    assert.equal(await page.locator("li img, li b, li svg").count(), 0);
  },
  "the focus stays while rows change, and while a row moves": async ({ open, session, put, api, button, status, row }) => {
    const id = await session("focus.iso", 4, [1]);
    const page = await open();
    await button(page, "Abort", "focus.iso").focus();
    await session("newer.iso", 2);
    await put(id, 2);
    await row(page, "newer.iso").waitFor();
    await row(page, "focus.iso").getByText("(50%)").waitFor();
    const focused = () => page.evaluate(() => document.activeElement.closest("li")?.querySelector("h4").textContent);
    assert.ok(await button(page, "Abort", "focus.iso").evaluate((element) => element === document.activeElement));
    // The row moves to the ended ones, and the button goes away.
    await put(id, 3);
    await put(id, 4);
    await api("POST", `/uploads/sessions/${id}/finalize`);
    await status(page, "focus.iso", "stored");
    assert.equal(await focused(), "focus.iso");
    await button(page, "Copy link", "focus.iso").focus();
    await session("newest.iso", 2);
    await row(page, "newest.iso").waitFor();
    assert.ok(await button(page, "Copy link", "focus.iso").evaluate((element) => element === document.activeElement));
  },
};
