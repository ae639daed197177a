// Owns the sending of one part: its headers, its progress where the platform tells it, and the check of the answer.
// Does not own attempts, nor the order of parts.
import { PartwayError, aborted, fromAnswer, noAnswer } from './error.js';
import { contentDigest, hex } from './digest.js';

/** The longest time in which nothing moves on a connection. The server may wait half a minute for its storage. */
const STALL = 90_000;

/**
 * Sends a part. The number is in a header and not in the address: browsers ask for permission once for each address.
 * @param {import('./http.js').Http} http
 */
export async function putPart(http, id, { number, bytes, digest, signal, onProgress }) {
  const url = http.url(`/uploads/sessions/${id}/parts`);
  const own = { 'Part-Number': String(number), 'Content-Digest': contentDigest(digest) };
  const send = typeof XMLHttpRequest === 'function' ? byXhr : byFetch;
  const text = await http.authorized((authorization) => send(url, { headers: { ...own, ...authorization }, bytes, signal, onProgress }));
  let stored;
  try { stored = JSON.parse(text).sha256; } catch { /* Not from Partway. */ }
  if (stored !== hex(digest)) {
    throw new PartwayError('NO_ANSWER', 'The answer to a part is not from Partway', { retryable: true });
  }
}

/** `fetch` tells nothing of the bytes on their way. */
async function byFetch(url, { headers, bytes, signal, onProgress }) {
  let response, text;
  try {
    onProgress(0);
    response = await fetch(url, { method: 'PUT', headers, body: bytes, signal, credentials: 'omit', redirect: 'manual' });
    text = await response.text();
  } catch (error) {
    throw signal.aborted ? aborted(signal) : noAnswer(error);
  }
  if (!response.ok) throw fromAnswer(response.status, text, (name) => response.headers.get(name));
  return text;
}

function byXhr(url, { headers, bytes, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted(signal));
    const xhr = new XMLHttpRequest();
    xhr.open('PUT', url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    let timer;
    const moved = () => { clearTimeout(timer); timer = setTimeout(() => xhr.abort(), STALL); };
    const stop = () => xhr.abort();
    signal.addEventListener('abort', stop);
    xhr.upload.onprogress = ({ loaded }) => { moved(); onProgress(loaded); };
    xhr.onload = () => {
      if (xhr.status >= 200 && xhr.status < 300) resolve(xhr.responseText);
      else reject(fromAnswer(xhr.status, xhr.responseText, (name) => xhr.getResponseHeader(name)));
    };
    xhr.onerror = () => reject(noAnswer());
    xhr.onabort = () => reject(signal.aborted ? aborted(signal) : noAnswer());
    xhr.onloadend = () => { clearTimeout(timer); signal.removeEventListener('abort', stop); };
    moved();
    xhr.send(bytes);
  });
}
