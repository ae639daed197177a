// Runs schemathesis on /openapi.json of the real binary: every answer must be one that the document describes, and none a server error.
// The second argument is the path of schemathesis.
import { spawnSync } from "node:child_process";
import { report, withServer } from "../server.mjs";
import { SETTINGS, createSession, finalize, putPart } from "../upload.mjs";

/** Sessions in each state, for paths with an id. */
async function prepare(server) {
  const [open, half, complete, aborted] = await Promise.all([1, 2, 1, 1].map((parts) => createSession(server, parts)));
  await putPart(server, half, 1);
  await putPart(server, complete, 1);
  await finalize(server, complete);
  const headers = { Authorization: `Bearer ${server.token}` };
  await fetch(`${server.url}/uploads/sessions/${aborted}`, { method: "DELETE", headers });
  const files = await (await fetch(`${server.url}/files`, { headers })).json();
  return {
    SESSIONS: [open, half, complete, aborted].join(),
    ENDED: [complete, aborted].join(),
    FILES: files.files.map((file) => file.file_id).join(),
  };
}

await withServer(async (server) => {
  const ids = await prepare(server);
  const args = ["--config-file", "schemathesis.toml", "run", `${server.url}/openapi.json`,
    "--request-timeout", "10", "-H", `Authorization: Bearer ${server.token}`];
  const env = { ...process.env, ...ids, PYTHONPATH: import.meta.dirname, SCHEMATHESIS_HOOKS: "schemathesis_hooks" };
  const options = { stdio: ["ignore", "inherit", "inherit"], cwd: import.meta.dirname, timeout: 600_000, env };
  const { status } = spawnSync(process.argv[3], args, options);
  report(1, status === 0 ? [] : [`schemathesis ended with ${status}`]);
}, SETTINGS);
