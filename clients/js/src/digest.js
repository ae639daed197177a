// Owns SHA-256 digests and where they are computed: Web Crypto in a worker, or here if there can be no worker.
// Does not own what is hashed.
import { sha256 } from './sha256.js';

const WORKER = `onmessage = async ({ data: { id, bytes } }) => {
  postMessage({ id, digest: await crypto.subtle.digest('SHA-256', bytes).catch(() => null) });
};`;

const here = async (bytes) =>
  globalThis.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)) : sha256(bytes);

/** Hashes the parts of uploads. One worker serves all of them, and ends when no upload uses it. */
export class Digests {
  #users = 0;
  #worker = null;
  #isRefused = typeof Worker !== 'function' || !globalThis.crypto?.subtle;
  #waiting = new Map();
  #next = 0;

  begin() { this.#users += 1; }

  end() {
    this.#users -= 1;
    if (this.#users > 0) return;
    // What an aborted upload still waits for, nobody needs.
    this.#waiting.clear();
    this.#stop();
  }

  /** Resolves to the digest of the bytes, which the caller may not change meanwhile. */
  of(bytes) {
    const worker = bytes.length > 0 ? this.#start() : null;
    if (!worker) return here(bytes);
    // A message takes the whole buffer behind a view, so a part of a larger buffer is copied first.
    const copied = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject, bytes });
      worker.postMessage({ id, bytes: copied });
    });
  }

  #start() {
    if (this.#worker || this.#isRefused) return this.#worker;
    let url;
    try {
      url = URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' }));
      const worker = new Worker(url);
      worker.onmessage = ({ data: { id, digest } }) => {
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (digest) waiting?.resolve(new Uint8Array(digest));
        else if (waiting) here(waiting.bytes).then(waiting.resolve, waiting.reject);
      };
      worker.onerror = (event) => { event.preventDefault?.(); this.#refuse(); };
      this.#worker = worker;
    } catch {
      this.#isRefused = true;
    } finally {
      // Not at once: a worker may fetch its address later.
      if (url) setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }
    return this.#worker;
  }

  /** The Content-Security-Policy of the page forbids the worker, or it broke: what waits is hashed here. */
  #refuse() {
    this.#isRefused = true;
    this.#stop();
    for (const { resolve, reject, bytes } of this.#waiting.values()) {
      here(bytes).then(resolve, reject);
    }
    this.#waiting.clear();
  }

  #stop() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}

/** The SHA-256 over the digests of the parts, in order. */
export const composite = async (digests) => {
  const all = new Uint8Array(digests.length * 32);
  digests.forEach((digest, index) => all.set(digest, index * 32));
  return hex(await here(all));
};

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The value of `Content-Digest`. */
export const contentDigest = (digest) => `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
