// The real binary on a folder of its own, for clients from npm. The binary's path is the first argument.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Starts `partway serve`, runs `work` with its address and the first start's token, and tidies up. */
export async function withServer(work, settings = {}) {
  const data = mkdtempSync(join(tmpdir(), "partway-clients-"));
  const args = ["serve", "--listen", "127.0.0.1:0", "--data", data];
  const server = spawn(process.argv[2], args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "off", ...settings } });
  try {
    const link = await new Promise((resolve, reject) => {
      let printed = "";
      server.stdout.on("data", (chunk) => {
        printed += chunk;
        const found = printed.match(/(http:\S+)\/graphiql#token=(\S+)/);
        if (found) resolve({ url: found[1], token: found[2] });
      });
      server.on("exit", (code) => reject(new Error(`the server ended: ${code}`)));
    });
    await work({ ...link, server, data, binary: process.argv[2] });
  } finally {
    server.removeAllListeners("exit");
    server.kill("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

/** Prints the closing line, and fails the process if anything failed. */
export function report(total, failures) {
  failures.forEach((failure) => console.error(failure));
  console.log(`${total - failures.length} passed, ${failures.length} failed`);
  if (failures.length > 0) process.exitCode = 1;
}
