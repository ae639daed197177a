// Checks of the page: by keyboard, for screen readers (axe-core), in the dark, on a phone, and below a path of a proxy.
const assert = require("node:assert");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { PART } = require("./support.cjs");

const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { phone: { width: 360, height: 740 }, tablet: { width: 820, height: 1180 }, desktop: { width: 1440, height: 900 } };

/** Runs axe-core in every size, light and dark, and looks that nothing is wider than the screen. */
async function audit(page, name) {
  // Evaluated by the debugger, to which the policy of the page does not apply.
  if (!await page.evaluate(() => Boolean(window.axe))) await page.evaluate(AXE);
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      // The bars are drawn again.
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
      assert.deepEqual(found, [], `${name}, ${size}, ${colorScheme}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}, ${size}: it scrolls sideways`);
      if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `page-${name}-${size}-${colorScheme}.png`) });
    }
  }
}

/** Presses Tab until the element has the focus. */
async function tabTo(page, locator) {
  for (let count = 0; count < 60; count += 1) {
    await page.keyboard.press("Tab");
    if (await locator.count() === 1 && await locator.evaluate((element) => element === document.activeElement)) return;
  }
  assert.fail(`Tab does not reach ${locator}`);
}

/** A list with a row of each kind. */
async function manyKinds({ open, session, api, file, choose, status, button, holdAfter, arrived, proxy }) {
  const stored = await api("POST", "/files", new Uint8Array(2_000_000), { "Content-Disposition": 'attachment; filename="stored.pdf"' });
  assert.ok(stored.file_id);
  const deleted = await api("POST", "/files", new Uint8Array(10), { "Content-Disposition": 'attachment; filename="deleted.pdf"' });
  await api("DELETE", `/files/${deleted.file_id}`);
  await api("DELETE", `/uploads/sessions/${await session("aborted.bin", 20, [1, 2, 3, 9])}`);
  await session("disk image with a long name, from another device, 2026-11-29.iso", 40, [1, 2, 3, 9, 10, 11, 12, 30, 40], { metadata: { path: "backup/laptop/x" } });
  const page = await open();
  const [sending, paused, failed] = [file("holiday.mp4", 40 * PART), file("paused.zip", 40 * PART), file("failed.bin", 3 * PART)];
  proxy.fault = () => ({ status: 403, body: "{}" });
  await choose(page, failed);
  await status(page, failed.name, "stopped");
  const release = holdAfter(12);
  await choose(page, sending, paused);
  for (const { name } of [sending, paused]) await arrived(name, 12);
  await button(page, "Pause", paused.name).click();
  await status(page, paused.name, "paused");
  return { page, release, sending };
}

module.exports = {
  "no violation in the sign-in, with and without a message": async ({ open }) => {
    const page = await open({ at: "/" });
    await page.getByLabel("Token or link").waitFor();
    await audit(page, "sign-in");
    await page.getByLabel("Token or link").fill("pw_wrong");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "not valid" }).waitFor();
    await audit(page, "sign-in-refused");
  },
  "no violation in the empty list": async ({ open }) => {
    const page = await open();
    await page.getByText("There are no uploads yet").waitFor();
    await audit(page, "empty");
  },
  "no violation in the list and in the dialogs": async (tools) => {
    const { page, release, sending } = await manyKinds(tools);
    await audit(page, "list");
    await tools.button(page, "Abort", sending.name).click();
    await audit(page, "question");
    await page.keyboard.press("Escape");
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await tools.button(page, "Copy link", "stored.pdf").click();
    await page.getByRole("dialog").waitFor();
    await audit(page, "link");
    release();
  },
  "no violation with a token for one upload": async ({ open, session, api, status }) => {
    const id = await session("one.bin", 10, [1, 2, 7]);
    const { token } = await api("POST", `/uploads/sessions/${id}/tokens`, { expires_in: "1h" });
    const page = await open({ at: `/#token=${token}&session=${id}` });
    await status(page, "one.bin", "open");
    await audit(page, "one-upload");
  },
  "with large text, and with fingers": async (tools) => {
    const { session, open, row } = tools;
    await session("touched.bin", 2, [1]);
    const page = await open({ viewport: SIZES.phone, context: { hasTouch: true, isMobile: true } });
    await row(page, "touched.bin").waitFor();
    const small = await page.evaluate(() => [...document.querySelectorAll("button, input, select, nav a")]
      .filter((element) => element.checkVisibility() && element.getBoundingClientRect().height < 40).map(({ outerHTML }) => outerHTML));
    assert.deepEqual(small, []);
    await page.evaluate(() => { document.documentElement.style.fontSize = "200%"; });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(done)));
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  },
  "by keyboard alone: sign in, upload, pause, resume, abort": async (tools) => {
    const { open, token, file, status, button, holdAfter } = tools;
    const page = await open({ at: "/" });
    const sent = file("keys.bin", 12 * PART);
    const release = holdAfter(4);
    await page.getByLabel("Token or link").waitFor();
    await page.keyboard.type(token); // The field has the focus.
    await tabTo(page, page.getByRole("button", { name: "Sign in" }));
    await page.keyboard.press("Enter");
    await page.getByText("There are no uploads yet").waitFor();
    await tabTo(page, page.getByRole("button", { name: "Choose files" }));
    const chooser = page.waitForEvent("filechooser");
    await page.keyboard.press("Enter");
    await (await chooser).setFiles(sent.path);
    await status(page, sent.name, "sending");
    await tabTo(page, button(page, "Pause", sent.name));
    await page.keyboard.press("Space");
    await status(page, sent.name, "paused");
    // The same button, with the focus.
    await button(page, "Resume", sent.name).waitFor();
    await page.keyboard.press("Space");
    await status(page, sent.name, "sending");
    await tabTo(page, button(page, "Abort", sent.name));
    await page.keyboard.press("Enter");
    await tabTo(page, page.getByRole("button", { name: "Abort upload" }));
    await page.keyboard.press("Enter");
    release();
    await status(page, sent.name, "aborted");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), sent.name);
  },
  "below a path of a proxy": async (tools) => {
    const { open, token, prefixed, file, choose, status, button, content } = tools;
    const page = await open({ origin: prefixed, at: `/partway/#token=${token}` });
    const sent = file("prefixed.bin");
    await choose(page, sent);
    await status(page, sent.name, "stored");
    assert.ok((await content(sent.name)).equals(sent.bytes));
    const downloading = page.waitForEvent("download");
    await button(page, "Download", sent.name).click();
    assert.ok(readFileSync(await (await downloading).path()).equals(sent.bytes));
    assert.equal(page.url(), `${prefixed}/partway/`);
  },
};
