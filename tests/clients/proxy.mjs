// A TCP proxy in front of the server that counts what clients send, and cuts a connection where a test wants it.
import { connect, createServer } from "node:net";
import { once } from "node:events";

/**
 * Starts a proxy for the server at `url`. After `cutAfter(bytes, meanwhile)`, it forwards this number of bytes from clients,
 * waits for `meanwhile`, and cuts the connection on which the last byte came. Connections that come meanwhile wait too.
 * `sent` counts the bytes that were forwarded; the test may reset it.
 */
export async function proxyTo(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  let cut = null;
  let busy = Promise.resolve();
  const proxy = { sent: 0, cuts: 0 };

  const onward = async (client, server, bytes) => {
    const now = cut && cut.left <= bytes.length ? cut : null;
    const forwarded = now ? bytes.subarray(0, now.left) : bytes;
    if (cut) cut.left -= forwarded.length;
    proxy.sent += forwarded.length;
    await new Promise((resolve) => server.write(forwarded, resolve));
    if (!now) return;
    cut = null;
    proxy.cuts += 1;
    busy = Promise.resolve(now.meanwhile?.());
    await busy;
    // The server gets all the bytes, and then the end of the connection. It has finished with them when the client is told.
    server.unpipe(client);
    server.resume().end();
    if (!server.closed) await once(server, "close");
    client.destroy();
  };

  const listener = createServer({ allowHalfOpen: true }, async (client) => {
    sockets.add(client);
    client.on("error", () => {});
    await busy;
    const server = connect(Number(port), hostname);
    sockets.add(server);
    server.on("error", () => client.destroy());
    server.on("close", () => { sockets.delete(server); client.destroy(); });
    client.on("close", () => { sockets.delete(client); server.destroySoon(); });
    server.pipe(client);
    try {
      for await (const bytes of client) await onward(client, server, bytes);
      server.end();
    } catch {
      server.destroySoon();
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  proxy.url = `http://127.0.0.1:${listener.address().port}`;
  proxy.cutAfter = (bytes, meanwhile) => { cut = { left: bytes, meanwhile }; };
  proxy.close = () => { listener.close(); sockets.forEach((socket) => socket.destroy()); };
  return proxy;
}
