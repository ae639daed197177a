// Uploads over REST, for the tests of GraphQL clients.
import { request } from "node:http";

/** Creates a session of `parts` parts of 64 KiB. The server must run with `SETTINGS`. Resolves to the session's id. */
export async function createSession({ url, token }, parts) {
  const response = await fetch(`${url}/uploads/sessions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ original_filename: "a.bin", total_size_bytes: parts * 65536 }),
  });
  if (response.status !== 201) throw new Error(`create: ${response.status}`);
  return (await response.json()).session_id;
}

export async function putPart({ url, token }, id, number) {
  const headers = { Authorization: `Bearer ${token}` };
  const body = new Uint8Array(65536).fill(number);
  const response = await fetch(`${url}/uploads/sessions/${id}/parts/${number}`, { method: "PUT", headers, body });
  if (response.status !== 201) throw new Error(`part ${number}: ${response.status}`);
}

/** Sends the first half of a part. `end` sends the rest. `status` resolves to the status of the response. */
export function beginPart({ url, token }, id, number) {
  const headers = { Authorization: `Bearer ${token}`, "Content-Length": 65536 };
  const sending = request(`${url}/uploads/sessions/${id}/parts/${number}`, { method: "PUT", headers });
  const status = new Promise((resolve, reject) => {
    sending.on("response", (response) => resolve(response.resume().statusCode));
    sending.on("error", reject);
  });
  const half = new Uint8Array(32768).fill(number);
  return { begun: new Promise((resolve) => sending.write(half, resolve)), end: () => sending.end(half), status };
}

export async function finalize({ url, token }, id) {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/uploads/sessions/${id}/finalize`, { method: "POST", headers });
  if (response.status !== 200) throw new Error(`finalize: ${response.status}`);
}

export const SETTINGS = { PARTWAY_CHUNK_SIZE: "65536" };

/** Runs the named checks one after the other. Resolves to the failures. */
export async function run(checks) {
  const failures = [];
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
    } catch (error) {
      failures.push(`${name}: ${error.stack ?? error}`);
    }
  }
  return failures;
}
