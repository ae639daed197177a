// Checks of the page: who is signed in.
const assert = require("node:assert");
const { PART } = require("./support.cjs");

const field = (page) => page.getByLabel("Token or link");
const EMPTY = "There are no uploads yet";

module.exports = {
  "by the form, after a wrong token": async ({ open, token, owner }) => {
    const page = await open({ at: "/" });
    await field(page).fill("pw_wrong");
    await field(page).press("Enter");
    await page.getByRole("alert").filter({ hasText: "This token is not valid" }).waitFor();
    await field(page).fill(` export PARTWAY_TOKEN="${token}" `);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText(EMPTY).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "uploads-heading");
    assert.match(await page.locator("#account").textContent(), new RegExp(`^${owner} · 0 B`));
  },
  "by a link in the address bar, and in the form; signing out": async ({ open, token, proxy }) => {
    const page = await open();
    await page.getByText(EMPTY).waitFor();
    assert.equal(page.url(), `${proxy.url}/`);
    await page.reload();
    await page.getByText(EMPTY).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await field(page).fill(`${proxy.url}/#token=${token}`);
    await field(page).press("Enter");
    await page.getByText(EMPTY).waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.getItem("partway.token")), token);
  },
  "a link with a token that is not valid does not sign out": async ({ open, owner }) => {
    const page = await open();
    await page.getByText(EMPTY).waitFor();
    await page.evaluate(() => { location.hash = "#token=pw_wrong"; });
    await page.getByRole("alert").filter({ hasText: "This token is not valid" }).waitFor();
    await page.reload();
    await page.getByText(EMPTY).waitFor();
    assert.match(await page.locator("#account").textContent(), new RegExp(`^${owner} `));
  },
  "again, after the token was revoked: the upload goes on": async (tools) => {
    const { open, cli, newToken, choose, file, status, arrived, holdAfter, content } = tools;
    const revoked = newToken("revoked");
    const page = await open({ at: `/#token=${revoked}` });
    const release = holdAfter(2);
    const sent = file("long.bin", 8 * PART);
    await page.getByText(EMPTY).waitFor();
    await choose(page, sent);
    await arrived(sent.name, 2);
    const [id] = cli("token", "list").split("\n").find((line) => line.includes(tools.owner) && line.includes("revoked")).trim().split(/\s+/);
    cli("token", "revoke", id);
    await page.getByRole("alert").filter({ hasText: "Your token has expired or was revoked" }).waitFor();
    assert.ok(await page.locator("#app").isHidden());
    release();
    await field(page).fill(tools.token);
    await field(page).press("Enter");
    await status(page, sent.name, "stored");
    assert.ok((await content(sent.name)).equals(sent.bytes));
  },
  "GraphiQL is one click away, signed in": async ({ open, token }) => {
    const page = await open();
    // If the binary has no files of GraphiQL, its page loads them from elsewhere, which is not of interest here.
    await page.context().route(/^https:/, (route) => route.abort());
    const opened = page.context().waitForEvent("page");
    await page.getByRole("link", { name: "GraphiQL" }).click();
    const graphiql = await opened;
    await graphiql.waitForLoadState("domcontentloaded");
    assert.match(graphiql.url(), /\/graphiql$/);
    assert.equal(await graphiql.evaluate(() => sessionStorage.getItem("partway.token")), token);
    await graphiql.locator("#token-form").waitFor({ state: "hidden" });
  },
  "a link for another device opens one upload, and nothing else": async (tools) => {
    const { open, session, file, button, chooseFor, status, content, put, proxy } = tools;
    const begun = file("phone.bin", 4 * PART);
    const id = await session(begun.name, 4);
    await put(id, 2, begun.bytes.subarray(PART, 2 * PART));
    await session("other.bin", 2);
    const page = await open({ context: { permissions: ["clipboard-read", "clipboard-write"] } });
    await button(page, "Continue on another device", begun.name).click();
    await page.getByText("Link copied.").waitFor();
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(link.startsWith(`${proxy.url}/#token=pu_`), link);
    const phone = await open({ at: link.slice(proxy.url.length), viewport: { width: 360, height: 740 } });
    const asked = [];
    phone.on("response", (response) => asked.push([response.status(), new URL(response.url()).pathname]));
    await status(phone, begun.name, "open");
    assert.ok(!phone.url().includes("pu_"));
    assert.equal(await phone.getByRole("listitem").count(), 1);
    assert.equal(await button(phone, "Abort", begun.name).count(), 0);
    await phone.reload();
    await chooseFor(phone, begun.name, begun);
    await Promise.all([status(phone, begun.name, "stored"), status(page, begun.name, "stored")]);
    assert.ok((await content(begun.name)).equals(begun.bytes));
    assert.deepEqual(asked.filter(([answer]) => answer >= 400), []);
    const parts = asked.filter(([, path]) => path.endsWith("/parts"));
    assert.equal(parts.length, 4, "the parts are compared, and three are sent");
  },
  "a page for one upload follows it although a request fails": async ({ open, session, put, api, row, proxy }) => {
    const id = await session("one.bin", 2);
    const { token } = await api("POST", `/uploads/sessions/${id}/tokens`, {});
    let reads = 0;
    proxy.fault = ({ method, path }) => (method === "GET" && path === `/uploads/sessions/${id}` && (reads += 1) > 1 ? { status: 403, body: "{}" } : undefined);
    const page = await open({ at: `/#token=${token}&session=${id}` });
    await put(id, 1);
    await row(page, "one.bin").getByText("(50%)").waitFor();
    // The page goes on counting.
    await row(page, "one.bin").getByText(/last part \d+ s ago/).waitFor();
  },
  "a token for one upload without its session": async ({ open, session, api }) => {
    const id = await session("a.bin", 2);
    const { token } = await api("POST", `/uploads/sessions/${id}/tokens`, {});
    const page = await open({ at: `/#token=${token}` });
    await page.getByRole("alert").filter({ hasText: "Open the link that came with it" }).waitFor();
  },
};
