// Verifies messages of webhooks with the libraries of Standard Webhooks from npm and PyPI, as a receiver does, also while the secret
// is rotated and after a kill of the server. The second argument is the folder of a virtual environment that has the library.
import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { once } from "node:events";
import { join } from "node:path";
import { Webhook } from "standardwebhooks";
import { report, withServer } from "./server.mjs";

/** A receiver that keeps every message, with the body as it was sent. */
async function receiver() {
  const received = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(200).end("thank you");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  /** Resolves to the message of the `index`th event. A message that comes again does not count. */
  const message = async (index) => {
    for (let tries = 0; tries < 600; tries += 1) {
      const ids = [...new Set(received.map(({ headers }) => headers["webhook-id"]))];
      if (ids.length > index) return received.find(({ headers }) => headers["webhook-id"] === ids[index]);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`message ${index} did not come`);
  };
  return { url: `http://127.0.0.1:${server.address().port}/hook`, message, close: () => server.close() };
}

/** What a library returns for a message; `null` if it refuses the message. */
const libraries = {
  npm: (secret, { headers, body }) => {
    try {
      return new Webhook(secret).verify(body, headers);
    } catch {
      return null;
    }
  },
  PyPI: (secret, message) => {
    const script = join(import.meta.dirname, "webhooks.py");
    return JSON.parse(execFileSync(join(process.argv[3], "bin", "python"), [script, secret], { input: JSON.stringify(message) }));
  },
};

const failures = [];
let checks = 0;
await withServer(async (running) => {
  const { url, token, data, settings } = running;
  const webhook = (...args) => {
    const env = { ...process.env, RUST_LOG: "off", ...settings };
    return execFileSync(running.binary, ["webhook", ...args, "--data", data], { env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  };
  const post = async (path, body) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
    assert.ok(response.ok, await response.clone().text());
    return response.json();
  };
  /** Uploads an empty file. Its name and its metadata need more than ASCII. */
  const upload = async () => {
    const created = await post("/uploads/sessions", { original_filename: "größe €.txt", total_size_bytes: 0, metadata: { "naïve": "\u{1f600} </script>" } });
    return post(`/uploads/sessions/${created.session_id}/finalize`, {});
  };
  const check = (what, isRight) => {
    checks += 1;
    if (!isRight) failures.push(what);
  };
  /** Each library accepts the message with each of these secrets, and refuses it with others and after a change. */
  const verify = (name, message, session, secrets, others) => {
    const changed = { ...message, body: message.body.replace("upload", "Upload") };
    const old = { ...message, headers: { ...message.headers, "webhook-timestamp": `${Number(message.headers["webhook-timestamp"]) - 1}` } };
    for (const [library, verified] of Object.entries(libraries)) {
      for (const secret of secrets) {
        const event = verified(secret, message);
        check(`${name}: ${library} refuses the message`, event?.type === "upload.completed" && event.data.session_id === session.session_id);
        check(`${name}: ${library} changes the data`, event?.data.original_filename === "größe €.txt" && event.data.metadata["naïve"] === "\u{1f600} </script>");
        check(`${name}: ${library} accepts another body`, verified(secret, changed) === null);
        check(`${name}: ${library} accepts another time`, verified(secret, old) === null);
      }
      for (const secret of others) check(`${name}: ${library} accepts another secret`, verified(secret, message) === null);
    }
  };

  const endpoint = await receiver();
  const first = webhook("add", endpoint.url);
  const id = webhook("list").split("\n")[1].split(" ")[0];
  let session = await upload();
  verify("a new webhook", await endpoint.message(0), session, [first], []);
  const second = webhook("rotate", id);
  session = await upload();
  verify("after a rotation", await endpoint.message(1), session, [first, second], []);
  const third = webhook("rotate", id);
  session = await upload();
  verify("after two rotations", await endpoint.message(2), session, [second, third], [first]);
  session = await upload();
  await running.restart("SIGKILL");
  verify("after a kill", await endpoint.message(3), session, [second, third], [first]);
  endpoint.close();
}, { PARTWAY_WEBHOOK_TIMEOUT: "1s" });
report(checks, failures);
process.exit();
