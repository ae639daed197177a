// The page at / of the real binary in headless Chromium: everything that people do there, with axe-core. Fails on a violation of the
// Content-Security-Policy, on an error in the console, on a request to another origin, and on a token in an address. The arguments are the
// path of the binary and, optionally, a part of the names of the checks to run.
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { launch } = require("./browser.cjs");
const { belowPath } = require("./pages.cjs");
const { PART, toolsOn } = require("./page/support.cjs");

const CHECKS = Object.assign({}, ...["sign_in", "list", "uploads", "access"].map((name) => require(`./page/${name}.cjs`)));

async function main() {
  const { withServer, report } = await import("../clients/server.mjs");
  const { run } = await import("../clients/upload.mjs");
  const { proxyTo } = await import("../../clients/js/test/proxy.js");
  const work = mkdtempSync(join(tmpdir(), "partway-page-"));
  const browser = await launch();
  try {
    await withServer(async (server) => {
      const proxy = { fault: () => undefined };
      const real = await proxyTo(server.url, (request) => proxy.fault(request));
      const prefixed = await belowPath(server.url);
      Object.assign(proxy, { url: real.url, cut: real.cut });
      let number = 0;
      const withTools = (check) => async () => {
        const tools = toolsOn({ server, proxy, browser, work, prefixed: prefixed.origin }, (number += 1));
        try { await check(tools); } finally { await tools.end(); }
      };
      const chosen = Object.entries(CHECKS).filter(([name]) => name.includes(process.argv[3] ?? ""));
      const failures = await run(Object.fromEntries(chosen.map(([name, check]) => [name, withTools(check)])));
      report(chosen.length, failures);
      prefixed.close();
      real.close();
    }, { PARTWAY_CHUNK_SIZE: String(PART) });
  } finally {
    await browser.close();
    rmSync(work, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
