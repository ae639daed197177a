// Owns the following of sessions: server-sent events by `fetch`, because `EventSource` cannot send a token, and connecting
// again after a break.
// Does not own what a session is.
import { PartwayError, aborted, noAnswer } from './error.js';
import { camel, isOpen } from './model.js';
import { delay, online, sleep } from './retry.js';

/** The server sends something every 12 seconds. */
const SILENCE = 40_000;

/**
 * The states of a session: the present one, then each new one, until it has ended.
 * @param {import('./http.js').Http} http
 */
export const watch = (http, id, options) =>
  follow(http, `/uploads/sessions/${encodeURIComponent(id)}/events`, options, (session) => !isOpen(session));

/**
 * The states of all sessions: those of the open ones, then each new one of any session, without an end.
 * @param {import('./http.js').Http} http
 */
export const watchAll = (http, options) => follow(http, '/uploads/events', options, () => false);

async function* follow(http, path, { signal, onConnection } = {}, isLast) {
  let lastEventId;
  for (let failures = 0; ;) {
    await online(signal);
    const connection = new AbortController();
    const stop = () => connection.abort(signal.reason);
    signal?.addEventListener('abort', stop);
    let wait = 0;
    try {
      if (signal?.aborted) throw aborted(signal);
      const response = await http.response('GET', path, {
        signal: connection.signal,
        headers: { Accept: 'text/event-stream', ...(lastEventId && { 'Last-Event-ID': lastEventId }) },
      });
      onConnection?.(null);
      // The session has ended, and its last state was seen.
      if (response.status === 204) return;
      for await (const event of messages(response.body, connection)) {
        failures = 0;
        lastEventId = event.id ?? lastEventId;
        if (!event.data) continue;
        const session = camel(JSON.parse(event.data));
        yield session;
        if (isLast(session)) return;
      }
    } catch (error) {
      if (signal?.aborted) throw aborted(signal);
      if (error instanceof PartwayError && !error.retryable) throw error;
      wait = error.retryAfter ?? 0;
      onConnection?.(error instanceof PartwayError ? error : noAnswer(error));
    } finally {
      signal?.removeEventListener('abort', stop);
      connection.abort();
    }
    failures += 1;
    await sleep(delay(failures, wait), signal, { wakeOnline: true });
  }
}

/** The messages of an event stream. */
async function* messages(body, connection) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [rest, message] = ['', {}];
  for (;;) {
    const timer = setTimeout(() => connection.abort(), SILENCE);
    const { value, done } = await reader.read().catch((error) => { throw noAnswer(error); }).finally(() => clearTimeout(timer));
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') { yield message; message = {}; continue; }
      const [, name, text] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (name === 'data') message.data = message.data === undefined ? text : `${message.data}\n${text}`;
      else if (name === 'id') message.id = text;
    }
  }
}
