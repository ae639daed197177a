// Runs the code of docs/frontend.md, as the page says: each block is a module, beside the modules that an application would have. The
// further arguments are the file docs/frontend.md and the folder of partway-client.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { report, withServer } from "./server.mjs";

const [page, client] = process.argv.slice(3).map((path) => resolve(path));
// Beside this file, so that the modules find packages from npm where this file finds them.
const folder = mkdtempSync(join(import.meta.dirname, "frontend-"));
const sections = readFileSync(page, "utf8").split(/^##+ /m);
const failures = [];
let modules = 0;
writeFileSync(join(folder, "package.json"), '{ "type": "module" }');

/** The code blocks of this language in the section whose title begins so. */
function codeOf(title, language) {
  const section = sections.find((section) => section.startsWith(title));
  assert.ok(section, `docs/frontend.md has no section "${title}"`);
  return [...section.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(([, code]) => code);
}

/** The path of a module with this code, which uses the server and the package. */
function moduleOf(code, url) {
  const path = join(folder, `module-${(modules += 1)}.js`);
  const addressed = code.replaceAll("https://uploads.example.org", url);
  writeFileSync(path, addressed.replaceAll("'partway-client'", JSON.stringify(pathToFileURL(join(client, "index.js")))));
  return path;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function check(name, work) {
  try {
    await work();
  } catch (error) {
    failures.push(`${name}: ${error.stack}`);
  }
}

const keys = await generateKeyPair("ES256");
const jwk = { ...(await exportJWK(keys.publicKey)), kid: "1", alg: "ES256" };
const provider = createServer((_, response) => response.end(JSON.stringify({ keys: [jwk] }))).listen(0, "127.0.0.1");
await once(provider, "listening");
const [toml] = codeOf("A JWT", "toml");
const settings = Object.fromEntries([...toml.matchAll(/^(\w+) = "(.*)"$/gm)].map(([, name, value]) => [`PARTWAY_${name.toUpperCase()}`, value]));
settings.PARTWAY_FILE_SHA256 = "always";
settings.PARTWAY_JWT_JWKS_URL = `http://127.0.0.1:${provider.address().port}/keys`;

await withServer(async ({ url, token }) => {
  process.env.PARTWAY_TOKEN = token;
  const bytes = randomBytes(11_000_000);
  const stored = async (name, owner = token) => {
    const bearer = { Authorization: `Bearer ${owner}` };
    const { files } = await (await fetch(`${url}/files?original_filename=${name}&status=STORED`, { headers: bearer })).json();
    assert.deepEqual(files.map((file) => file.sha256), [sha256(bytes)], `one stored file ${name}`);
  };
  const newFile = (name) => Object.assign(Buffer.from(bytes), { name, size: bytes.length });

  await check("a token of Partway", async () => {
    const [script] = codeOf("A token of Partway", "js");
    const path = join(folder, "report.bin");
    writeFileSync(path, bytes);
    const output = execFileSync(process.execPath, [moduleOf(script, url), path], { encoding: "utf8", env: { ...process.env, NODE_NO_WARNINGS: "1" } });
    assert.match(output, /^stored /);
    await stored("report.bin");
  });

  await check("a JWT", async () => {
    const claims = { iss: settings.PARTWAY_JWT_ISSUER, aud: settings.PARTWAY_JWT_AUDIENCE, sub: "auth0|5f7c" };
    const signed = await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "1" }).setExpirationTime("5m").sign(keys.privateKey);
    writeFileSync(join(folder, "auth.js"), `export const getAccessToken = async () => ${JSON.stringify(signed)};`);
    const { partway } = await import(moduleOf(codeOf("A JWT", "js")[0], url));
    await partway.upload(new File([bytes], "jwt.bin"));
    assert.equal((await partway.me()).owner, claims.sub);
    await stored("jwt.bin", signed);
  });

  // The back end of the application, for the pages of one user.
  const [backEnd, front] = codeOf("A token for one upload", "js");
  const { newUpload } = await import(moduleOf(backEnd, url));
  const real = globalThis.fetch;
  globalThis.fetch = async (target, options) =>
    target === "/api/uploads" ? Response.json(await newUpload("maria", JSON.parse(options.body))) : real(target, options);

  await check("a token for one upload", async () => {
    const { upload } = await import(moduleOf(front, url));
    // The page is closed after the first part, and opened again.
    const closed = new AbortController();
    const first = upload(new File([bytes], "page.bin"), { signal: closed.signal, parallel: 1, onProgress: ({ bytesConfirmed }) => bytesConfirmed > 0 && closed.abort() });
    await assert.rejects(first, { name: "AbortError" });
    const compared = [];
    const file = await upload(new File([bytes], "page.bin"), { onState: (state) => compared.push(state) });
    assert.equal(file.metadata.user, "maria");
    assert.ok(compared.includes("comparing"), "it continues the session");
    await stored("page.bin");
  });

  await check("a tus client", async () => {
    const { uploadByTus } = await import(moduleOf(codeOf("A tus client", "js")[0], url));
    await uploadByTus(newFile("tus.bin"));
    await stored("tus.bin");
  });
}, settings).finally(() => rmSync(folder, { recursive: true, force: true }));
provider.close();
report(4, failures);
process.exit();
