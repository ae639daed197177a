// Owns the faults between a client and the server: an HTTP proxy that changes, cuts, loses and answers.
// Does not own what a test expects of them.
import { once } from 'node:events';
import http from 'node:http';

/**
 * An HTTP proxy for the server. For each request, `fault(request)` says what goes wrong: nothing (undefined), `{ flip: n }` (byte
 * n of the body is changed), `{ cut: n }` (the connection breaks after n bytes of the body), `{ lost: true }` (the answer does not
 * arrive), or `{ status, headers, body }` in place of the server's answer. It may be a promise, which the request waits for.
 */
export async function proxyTo(url, fault) {
  const { hostname, port } = new URL(url);
  const agent = new http.Agent({ keepAlive: false });
  const listener = http.createServer(async (request, response) => {
    const number = Number(request.headers['part-number']) || null;
    const wrong = (await fault({ method: request.method, path: request.url, number })) ?? {};
    if (wrong.status) {
      for await (const _ of request); // Read to its end, as most proxies do.
      return response.writeHead(wrong.status, wrong.headers).end(wrong.body ?? '');
    }
    const { method, url: path, headers } = request;
    const onward = http.request({ hostname, port, method, path, headers, agent }, (answer) => {
      if (wrong.lost) { answer.resume().on('end', () => request.socket.destroy()); return; }
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    let passed = 0;
    try {
      for await (const chunk of request) {
        if (wrong.flip >= passed && wrong.flip < passed + chunk.length) chunk[wrong.flip - passed] ^= 1;
        passed += chunk.length;
        if (passed > wrong.cut) { onward.destroy(); request.socket.destroy(); return; }
        onward.write(chunk);
      }
      onward.end();
    } catch {
      onward.destroy();
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    /** Breaks every connection of now. */
    cut: () => listener.closeAllConnections(),
    close: () => { listener.closeAllConnections(); listener.close(); },
  };
}
