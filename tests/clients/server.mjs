// The real binary on a folder of its own, for clients from npm. The binary's path is the first argument.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Starts `partway serve`; resolves to its process when it has printed what `pattern` looks for, and to what was found. */
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

/**
 * Starts `partway serve`, runs `work` with its address and the first start's token, and tidies up. `restart` ends it by a
 * signal and starts it again at the same address.
 */
export async function withServer(work, settings = {}) {
  const data = mkdtempSync(join(tmpdir(), "partway-clients-"));
  const running = { data, binary: process.argv[2] };
  try {
    const { server, found } = await start("127.0.0.1:0", data, settings, /(http:\S+)\/graphiql#token=(\S+)/);
    Object.assign(running, { server, url: found[1], token: found[2] });
    running.restart = async (signal) => {
      const ended = once(running.server, "exit");
      running.server.kill(signal);
      await ended;
      const address = new URL(running.url).host;
      running.server = (await start(address, data, settings, /listens on/)).server;
    };
    await work(running);
  } finally {
    running.server?.removeAllListeners("exit");
    running.server?.kill("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

/** Prints the closing line, and fails the process if anything failed. */
export function report(total, failures) {
  failures.forEach((failure) => console.error(failure));
  console.log(`${total - failures.length} passed, ${failures.length} failed`);
  if (failures.length > 0) process.exitCode = 1;
}
