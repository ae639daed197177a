// Signs in with tokens that jose (npm) and PyJWT (PyPI) have signed, and uploads with tus-js-client by a token for one upload. The
// second argument is the folder of a virtual environment that has PyJWT.
import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { SignJWT, exportJWK, exportPKCS8, generateKeyPair } from "jose";
import { Upload } from "tus-js-client";
import { report, withServer } from "./server.mjs";

const ISSUER = "https://id.example.org/";
const AUDIENCE = "partway";
const OWNER = "auth0|5f7c8ec7";

const failures = [];
let checks = 0;
function check(what, isRight) {
  checks += 1;
  if (!isRight) failures.push(what);
}

/** A provider with a key for each algorithm. */
const keys = {};
for (const alg of ["RS256", "PS512", "ES256", "ES384", "EdDSA"]) {
  const pair = await generateKeyPair(alg, { extractable: true, ...(alg === "EdDSA" && { crv: "Ed25519" }) });
  keys[alg] = { ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid: alg, use: "sig" }, pem: await exportPKCS8(pair.privateKey) };
}
let published = Object.values(keys).map(({ jwk }) => jwk);
const provider = createServer((_, response) => response.end(JSON.stringify({ keys: published })));
provider.listen(0, "127.0.0.1");
await once(provider, "listening");

const now = () => Math.floor(Date.now() / 1000);
const claims = () => ({ iss: ISSUER, aud: AUDIENCE, sub: OWNER, iat: now(), nbf: now(), exp: now() + 300 });
const signers = {
  jose: (alg, claims, key = keys[alg]) => new SignJWT(claims).setProtectedHeader({ alg, kid: key.jwk.kid }).sign(key.privateKey),
  PyJWT: (alg, claims, key = keys[alg]) => {
    const input = JSON.stringify({ claims, key: key.pem, alg, kid: key.jwk.kid });
    return execFileSync(join(process.argv[3], "bin", "python"), [join(import.meta.dirname, "identity.py")], { input, encoding: "utf8" }).trim();
  },
};

const settings = {
  PARTWAY_JWT_JWKS_URL: `http://127.0.0.1:${provider.address().port}/keys`,
  PARTWAY_JWT_ISSUER: ISSUER,
  PARTWAY_JWT_AUDIENCE: AUDIENCE,
};
await withServer(async ({ url, token }) => {
  const me = async (token) => {
    const response = await fetch(`${url}/me`, { headers: { Authorization: `Bearer ${token}` } });
    return response.ok ? (await response.json()).owner : response.status;
  };
  for (const [library, sign] of Object.entries(signers)) {
    for (const alg of Object.keys(keys)) check(`${library} ${alg}`, (await me(await sign(alg, claims()))) === OWNER);
    for (const [name, change] of Object.entries({
      "another audience": { aud: "another" },
      "another issuer": { iss: "https://id.example.com/" },
      expired: { exp: now() - 120 },
      "not valid yet": { nbf: now() + 120 },
    })) {
      check(`${library}: ${name}`, (await me(await sign("RS256", { ...claims(), ...change }))) === 401);
    }
    const forged = { ...(await generateKeyPair("RS256", { extractable: true })), jwk: { kid: "RS256" } };
    forged.pem = await exportPKCS8(forged.privateKey);
    check(`${library}: a key of somebody else`, (await me(await sign("RS256", claims(), forged))) === 401);
  }

  // An application creates the session, and gives a page the token for this one upload.
  const bearer = { Authorization: `Bearer ${await signers.jose("ES256", claims())}`, "Content-Type": "application/json" };
  const bytes = Buffer.alloc(3_000_000, "partway");
  for (const place of ["header", "query"]) {
    const body = JSON.stringify({ original_filename: `${place}.bin`, total_size_bytes: bytes.length });
    const session = await (await fetch(`${url}/uploads/sessions`, { method: "POST", headers: bearer, body })).json();
    const created = await fetch(`${url}/uploads/sessions/${session.session_id}/tokens`, { method: "POST", headers: bearer, body: "{}" });
    const upload = await created.json();
    assert.equal(created.status, 201);
    const [uploadUrl, headers] =
      place === "header"
        ? [upload.upload_url, { Authorization: `Bearer ${upload.token}` }]
        : [`${upload.upload_url}?upload_token=${upload.token}`, {}];
    const done = new Promise((resolve) => {
      const options = { uploadUrl, headers, chunkSize: 1_000_000, retryDelays: null, onSuccess: () => resolve(true), onError: resolve };
      new Upload(bytes, options).start();
    });
    check(`tus-js-client with the token in the ${place}: ${await done}`, (await done) === true);
    const status = await (await fetch(`${url}/uploads/sessions/${session.session_id}`, { headers: bearer })).json();
    check(`stored with the token in the ${place}`, status.status === "COMPLETE" && status.file.status === "STORED");
    check("the token lists nothing", (await fetch(`${url}/uploads/sessions`, { headers: { Authorization: `Bearer ${upload.token}` } })).status === 403);
  }

  published = [];
  check("another owner's token", (await me(token)) !== OWNER);
}, settings);
provider.close();
report(checks, failures);
process.exit();
