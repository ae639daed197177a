// graphql-ws and graphql-sse against the real binary: the states of a session, and each way in which the server rejects a
// client.
import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { createClient as createWsClient } from "graphql-ws";
import { createClient as createSseClient } from "graphql-sse";
import WebSocket from "ws";
import { report, withServer } from "./server.mjs";
import { SETTINGS, beginPart, createSession, finalize, putPart, run } from "./upload.mjs";

const QUERY = `subscription($id: ID!) { uploadSession(id: $id) { status completedParts receivedPartsText version } }`;

/** Sends `messages` over a raw WebSocket. Resolves to the close code and the messages of the server. */
function socket(url, messages, options = {}) {
  return new Promise((resolve) => {
    const raw = new WebSocket(`${url.replace("http", "ws")}/graphql/ws`, options.protocol ?? "graphql-transport-ws", options);
    const received = [];
    raw.on("open", () => messages.forEach((message) => raw.send(typeof message === "string" ? message : JSON.stringify(message))));
    raw.on("message", (data) => received.push(JSON.parse(data)));
    raw.on("close", (code) => resolve({ code, received }));
    raw.on("error", (error) => resolve({ code: 0, received, error }));
    if (options.onMessage) raw.on("message", options.onMessage);
    if (options.hangUpAfter) raw.on("message", () => received.length >= options.hangUpAfter && raw.close());
  });
}

/** Subscribes to a session, uploads it, and checks the states. */
async function follow(server, client) {
  const id = await createSession(server, 3);
  const states = client.iterate({ query: QUERY, variables: { id } });
  const first = (await states.next()).value.data.uploadSession;
  assert.deepEqual([first.status, first.completedParts], ["INIT", 0], "the current state comes at once");
  await putPart(server, id, 2);
  const second = (await states.next()).value.data.uploadSession;
  assert.deepEqual([second.status, second.receivedPartsText], ["IN_PROGRESS", "2"]);
  await putPart(server, id, 1);
  await putPart(server, id, 3);
  await finalize(server, id);
  let last;
  for await (const { data } of states) last = data.uploadSession;
  assert.deepEqual([last.status, last.receivedPartsText], ["COMPLETE", "1-3"], "the last state always arrives, and then the stream ends");
}

await withServer(async (server) => {
  const { url, token } = server;
  const init = { type: "connection_init", payload: { Authorization: `Bearer ${token}` } };
  const webSocketUrl = `${url.replace("http", "ws")}/graphql/ws`;
  const ws = (connectionParams) => createWsClient({ url: webSocketUrl, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 });
  const sse = (bearer) => createSseClient({ url: `${url}/graphql`, headers: { Authorization: `Bearer ${bearer}` }, retryAttempts: 0 });
  const subscribe = (id, query = "{ __typename }") => ({ type: "subscribe", id, payload: { query } });
  const never = await createSession(server, 1);
  const pending = { type: "subscribe", id: "a", payload: { query: QUERY, variables: { id: never } } };

  const checks = {
    "graphql-ws follows a session": () => follow(server, ws({ Authorization: `Bearer ${token}` })),
    "graphql-sse follows a session": () => follow(server, sse(token)),
    "graphql-ws runs a query": async () => {
      const results = ws({ authorization: `Bearer ${token}` }).iterate({ query: "{ uploadSessions { nodes { id } } }" });
      assert.ok((await results.next()).value.data.uploadSessions.nodes.length > 0);
      assert.ok((await results.next()).done);
    },
    "a session that does not exist gives an error with a code over both transports": async () => {
      for (const client of [ws({ Authorization: `Bearer ${token}` }), sse(token)]) {
        const states = client.iterate({ query: QUERY, variables: { id: "nonsense" } });
        const { errors } = (await states.next()).value;
        assert.equal(errors[0].extensions.code, "NOT_FOUND");
      }
    },
    "a bad token closes a socket with 4403": async () => {
      const bad = { type: "connection_init", payload: { Authorization: "Bearer pw_wrong" } };
      assert.equal((await socket(url, [bad])).code, 4403);
      assert.equal((await socket(url, [{ type: "connection_init" }])).code, 4403);
    },
    "a bad token gives 401 over SSE": async () => {
      const headers = { Authorization: "Bearer pw_wrong", Accept: "text/event-stream", "Content-Type": "application/json" };
      const response = await fetch(`${url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query: QUERY }) });
      assert.equal(response.status, 401);
      await response.body.cancel();
    },
    "the token may come with the handshake": async () => {
      const options = { headers: { Authorization: `Bearer ${token}` }, hangUpAfter: 1 };
      assert.equal((await socket(url, [{ type: "connection_init" }], options)).received[0].type, "connection_ack");
    },
    "no init closes the socket with 4408": async () => assert.equal((await socket(url, [])).code, 4408),
    "subscribe before init closes the socket with 4401": async () => assert.equal((await socket(url, [subscribe("a")])).code, 4401),
    "a second init closes the socket with 4429": async () => assert.equal((await socket(url, [init, init])).code, 4429),
    "a second operation with the same id closes the socket with 4409": async () => assert.equal((await socket(url, [init, pending, pending])).code, 4409),
    "an invalid message closes the socket with 4400": async () => {
      for (const bad of ["{", "[]", '{"type":"other"}', '{"type":"subscribe"}', { type: "subscribe", id: "a", payload: {} }]) {
        assert.equal((await socket(url, [init, bad])).code, 4400, JSON.stringify(bad));
      }
    },
    "an invalid query gives an error message, and the socket stays open": async () => {
      const { received } = await socket(url, [init, subscribe("bad", "{ nothing }"), subscribe("good")], { hangUpAfter: 4 });
      const types = (id) => received.filter((message) => message.id === id).map((message) => message.type);
      assert.deepEqual([types("bad"), types("good")], [["error"], ["next", "complete"]]);
      assert.equal(received.find((message) => message.type === "error").payload[0].extensions.code, "INVALID_INPUT");
    },
    "a mutation over a socket is rejected": async () => {
      const mutation = subscribe("a", `mutation { abortUploadSession(input: { id: "${never}" }) { userErrors { code } } }`);
      const { received } = await socket(url, [init, mutation], { hangUpAfter: 2 });
      assert.equal(received[1].payload[0].extensions.code, "FORBIDDEN");
    },
    "a socket has at most 32 operations": async () => {
      const many = Array.from({ length: 33 }, (_, n) => ({ ...pending, id: `${n}` }));
      const { received } = await socket(url, [init, ...many, { type: "ping" }], { hangUpAfter: 35 });
      const refused = received.find((message) => message.type === "error");
      assert.equal(refused.payload[0].extensions.code, "RATE_LIMITED");
    },
    "a socket from another origin is rejected": async () => {
      const { error } = await socket(url, [init], { headers: { Origin: "https://evil.example.org" } });
      assert.match(String(error), /403/);
    },
    "an unknown protocol is rejected": async () => {
      const { error } = await socket(url, [init], { protocol: "graphql-ws" });
      assert.match(String(error), /400/);
    },
    "a message that is too large closes the socket": async () => {
      const { code, received } = await socket(url, [init, subscribe("a", " ".repeat(300_000))]);
      assert.ok(code === 1009 && received.every((message) => message.type === "connection_ack"), `${code}`);
      const { code: larger } = await socket(url, [init, subscribe("a", " ".repeat(16_000_000))]);
      assert.equal(larger, 1009, "the close code arrives although the client is still sending");
    },
    "a slow reader receives the last state": async () => {
      const id = await createSession(server, 8);
      const states = sse(token).iterate({ query: QUERY, variables: { id } });
      await states.next();
      for (let number = 1; number <= 8; number += 1) await putPart(server, id, number);
      await finalize(server, id);
      let last;
      for await (const { data } of states) last = data.uploadSession;
      assert.equal(last.status, "COMPLETE");
    },
    "revoking a token ends its sockets and streams": async () => {
      const cli = (...args) => execFileSync(server.binary, ["token", ...args, "--data", server.data], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
      const short = cli("create", "--owner", "local", "--name", "short").trim();
      const id = cli("list").split("\n").find((line) => line.includes("short")).split(" ")[0];
      const events = sse(short).iterate({ query: QUERY, variables: { id: never } });
      await events.next();
      const closed = socket(url, [{ type: "connection_init", payload: { Authorization: `Bearer ${short}` } }, pending]);
      cli("revoke", id);
      // The server cuts the stream without `complete`, so a client reconnects and gets an error.
      await assert.rejects(events.next(), /Connection closed/);
      assert.equal((await closed).code, 4403);
    },
    "an owner has at most 64 sockets": async () => {
      const other = execFileSync(server.binary, ["token", "create", "--owner", "many", "--data", server.data], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
      const hello = { type: "connection_init", payload: { Authorization: `Bearer ${other}` } };
      const open = [];
      const acknowledged = () => new Promise((resolve, reject) => {
        const raw = new WebSocket(webSocketUrl, "graphql-transport-ws");
        open.push(raw);
        raw.on("open", () => raw.send(JSON.stringify(hello)));
        raw.on("message", () => resolve("ack"));
        raw.on("close", (code) => resolve(code));
        raw.on("error", reject);
      });
      for (let n = 0; n < 64; n += 1) assert.equal(await acknowledged(), "ack");
      assert.equal(await acknowledged(), 4429);
      open.forEach((raw) => raw.terminate());
    },
    "clients reconnect after the server restarts": async () => {
      for (const signal of ["SIGTERM", "SIGKILL"]) {
        const id = await createSession(server, 2);
        const headers = { Authorization: `Bearer ${token}` };
        const clients = [
          createWsClient({ url: webSocketUrl, webSocketImpl: WebSocket, connectionParams: headers }),
          createSseClient({ url: `${url}/graphql`, headers }),
        ];
        const followed = clients.map((client) => client.iterate({ query: QUERY, variables: { id } }));
        for (const states of followed) assert.equal((await states.next()).value.data.uploadSession.status, "INIT");
        await server.restart(signal);
        for (const number of [1, 2]) await putPart(server, id, number);
        await finalize(server, id);
        for (const states of followed) {
          let last;
          for await (const { data } of states) last = data.uploadSession;
          assert.equal(last.status, "COMPLETE", signal);
        }
      }
    },
    "a stopping server closes sockets with 1001": async () => {
      const id = await createSession(server, 1);
      const subscribe = { ...pending, payload: { query: QUERY, variables: { id } } };
      // A running part keeps the server alive until the test has seen that it rejects a new socket.
      const part = beginPart(server, id, 1);
      await part.begun;
      let closed;
      await new Promise((resolve) => { closed = socket(url, [init, subscribe], { onMessage: resolve }); });
      const events = sse(token).iterate({ query: QUERY, variables: { id } });
      await events.next();
      server.server.removeAllListeners("exit");
      const exited = new Promise((resolve) => server.server.on("exit", resolve));
      server.server.kill("SIGTERM");
      assert.equal((await closed).code, 1001);
      // The server cuts the stream without `complete`, so a client reconnects to this server or another one.
      await assert.rejects(events.next(), /Connection closed/);
      assert.match((await socket(url, [init])).error.message, /503/);
      part.end();
      assert.equal(await part.status, 201);
      assert.equal(await exited, 0);
    },
  };
  report(Object.keys(checks).length, await run(checks));
}, SETTINGS);
