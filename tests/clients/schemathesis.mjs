// Runs schemathesis on the GraphQL schema of the real binary, with a fixed seed and a few cases for each field. Fails on a
// server error and on an error without a code. The second argument is the path of schemathesis.
import { spawnSync } from "node:child_process";
import { report, withServer } from "./server.mjs";
import { SETTINGS, createSession } from "./upload.mjs";

await withServer(async (server) => {
  await createSession(server, 3);
  const args = ["run", `${server.url}/graphql`, "--max-examples", "15", "--seed", "1", "--phases", "fuzzing",
    "--checks", "not_a_server_error", "-H", `Authorization: Bearer ${server.token}`];
  const env = { ...process.env, PYTHONPATH: import.meta.dirname, SCHEMATHESIS_HOOKS: "schemathesis_codes" };
  const { status } = spawnSync(process.argv[3], args, { stdio: ["ignore", "inherit", "inherit"], timeout: 240_000, env });
  report(1, status === 0 ? [] : [`schemathesis ended with ${status}`]);
}, SETTINGS);
