// Runs the real binary on a new data folder, for clients from npm and elsewhere. The first argument is the path of the binary.
// If TEST_DATABASE_URL and TEST_STORAGE_URL are set, as by scripts/test-services, each server gets a schema of its own in that
// database, and a prefix of its own in that object store.
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Starts `partway serve` and waits until its output matches `pattern`. Resolves to the process and the match. */
async function start(address, data, settings, pattern) {
  const args = ["serve", "--listen", address, "--data", data];
  const server = spawn(process.argv[2], args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "off", ...settings } });
  const found = await new Promise((resolve, reject) => {
    let printed = "";
    server.stdout.on("data", (chunk) => {
      printed += chunk;
      const match = printed.match(pattern);
      if (match) resolve(match);
    });
    server.on("exit", (code) => reject(new Error(`the server ended: ${code}`)));
  });
  return { server, found };
}

/** The settings of a database and a storage that no other server has; none if they are in the data folder. */
function stores() {
  const { TEST_DATABASE_URL: database, TEST_STORAGE_URL: storage } = process.env;
  if (!database || !storage) return {};
  const name = `clients_${randomUUID().replaceAll("-", "")}`;
  execFileSync("psql", [database, "--quiet", "--command", `CREATE SCHEMA ${name}`]);
  const separator = database.includes("?") ? "&" : "?";
  return { PARTWAY_DATABASE: `${database}${separator}options[search_path]=${name}`, PARTWAY_STORAGE: `${storage}/${name}` };
}

/**
 * Starts `partway serve`, runs `work` with the server's URL and token, and cleans up. `stop` ends the server with a signal, `begin`
 * starts it again on the same address, and `restart` does both.
 */
export async function withServer(work, ownSettings = {}) {
  const settings = { ...stores(), ...ownSettings };
  const data = mkdtempSync(join(tmpdir(), "partway-clients-"));
  const running = { data, settings, binary: process.argv[2] };
  try {
    const { server, found } = await start("127.0.0.1:0", data, settings, /(http:\S+)\/graphiql#token=(\S+)/);
    Object.assign(running, { server, url: found[1], token: found[2] });
    running.stop = async (signal) => {
      const ended = once(running.server, "exit");
      running.server.kill(signal);
      await ended;
    };
    running.begin = async () => {
      const address = new URL(running.url).host;
      running.server = (await start(address, data, settings, /listens on/)).server;
    };
    running.restart = async (signal) => {
      await running.stop(signal);
      await running.begin();
    };
    await work(running);
  } finally {
    running.server?.removeAllListeners("exit");
    running.server?.kill("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

/** Prints the failures and a summary. Sets exit code 1 if a check failed. */
export function report(total, failures) {
  failures.forEach((failure) => console.error(failure));
  console.log(`${total - failures.length} passed, ${failures.length} failed`);
  if (failures.length > 0) process.exitCode = 1;
}
