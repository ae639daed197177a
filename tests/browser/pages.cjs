// Serves pages on an origin of their own, bundles those in pages/, and serves Partway below a path.
const { createServer, request: send } = require("node:http");
const { readFileSync } = require("node:fs");
const { once } = require("node:events");
const { join } = require("node:path");
const esbuild = require("esbuild");

/** Starts a server of pages with this handler of requests. Resolves to its origin and a function that ends it. */
const serve = async (handler) => {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close(); } };
};
exports.serve = serve;

/** Serves the page `name` with the packages in the folder `modules`. Resolves to its origin and a function that ends it. */
exports.servePage = async (name, modules, out) => {
  const entryPoints = { page: join(__dirname, "pages", `${name}.js`), service_worker: "@uppy/golden-retriever/lib/ServiceWorker.js" };
  await esbuild.build({ entryPoints, bundle: true, outdir: out, nodePaths: [modules], logLevel: "error" });
  const html = '<!doctype html><link rel="stylesheet" href="/page.css"><div id="uppy"></div><script src="/page.js"></script>';
  const types = { "/page.js": "text/javascript", "/service_worker.js": "text/javascript", "/page.css": "text/css" };
  return serve((request, response) => {
    if (request.url === "/") return response.writeHead(200, { "Content-Type": "text/html" }).end(html);
    if (!types[request.url]) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": types[request.url] }).end(readFileSync(join(out, request.url)));
  });
};

/** A proxy that serves what is at `target` below `/partway/`. `Host` is that of the target. Resolves to its origin and a function that ends it. */
exports.belowPath = (target) => {
  const { hostname, port } = new URL(target);
  return serve((request, response) => {
    if (!request.url.startsWith("/partway/")) return response.writeHead(404).end();
    const path = request.url.slice("/partway".length);
    const headers = { ...request.headers, host: `${hostname}:${port}` };
    const onward = send({ hostname, port, path, method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      response.on("close", () => answer.destroy());
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
};
