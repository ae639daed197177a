// Owns single requests to the server: the address, the token and its renewal after a 401, JSON, and errors.
// Does not own attempts (retry.js), nor the sending of parts with progress (put.js).
import { PartwayError, aborted, fromAnswer, noAnswer } from './error.js';
import { camel } from './model.js';
import { Token } from './token.js';

const TIMEOUT = 60_000;

export class Http {
  #url;
  #token;

  constructor(url, token) {
    this.#url = String(url).replace(/\/+$/, '');
    this.#token = new Token(token);
  }

  url(path) { return this.#url + path; }

  /** Sends with the token; with another token once more if the server refuses the first with 401. */
  async authorized(send) {
    const token = await this.#token.get();
    try {
      return await send(bearer(token));
    } catch (error) {
      if (error.status !== 401) throw error;
      const other = await this.#token.after(token);
      if (other === null || other === token) throw error;
      return send(bearer(other));
    }
  }

  /** The answer to a request, as a `Response` whose body has not been read. */
  response(method, path, { body, headers, signal } = {}) {
    return this.authorized(async (authorization) => {
      let response;
      try {
        response = await fetch(this.url(path), {
          method, body, signal, headers: { ...headers, ...authorization },
          // A token goes to no other address than the application's own choice.
          redirect: 'manual', credentials: 'omit', cache: 'no-store',
        });
      } catch (error) {
        throw noAnswer(error);
      }
      if (response.ok) return response;
      if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) {
        throw new PartwayError('REDIRECTED', 'The address of the server redirects: use the address that it redirects to', { status: response.status });
      }
      const text = await response.text().catch(() => '');
      throw fromAnswer(response.status, text, (name) => response.headers.get(name));
    });
  }

  /** The JSON of an answer, in camelCase; null if it has no body. */
  async json(method, path, { body, signal } = {}) {
    const limited = timeout(TIMEOUT, signal);
    try {
      const response = await this.response(method, path, {
        signal: limited.signal,
        body: body && JSON.stringify(body),
        headers: body && { 'Content-Type': 'application/json' },
      });
      const text = await response.text();
      return text ? camel(JSON.parse(text)) : null;
    } catch (error) {
      if (signal?.aborted) throw aborted(signal);
      throw error instanceof PartwayError ? error : noAnswer(error);
    } finally {
      limited.end();
    }
  }
}

/** The header with a token. `fetch` would throw what it throws without a network. */
function bearer(token) {
  if (!/^[\x21-\x7e]+$/.test(String(token).trim())) throw new PartwayError('NO_TOKEN', 'The token has characters that no token has');
  return { Authorization: `Bearer ${token}` };
}

/** A signal that also aborts after a time. `AbortSignal.any` is too new for some browsers. */
export function timeout(milliseconds, signal) {
  const controller = new AbortController();
  const stop = () => controller.abort(signal.reason);
  const timer = setTimeout(() => controller.abort(new DOMException('No answer in time', 'TimeoutError')), milliseconds);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  return { signal: controller.signal, end: () => { clearTimeout(timer); signal?.removeEventListener('abort', stop); } };
}
