// Owns how many things happen at the same time, first come, first served.
// Does not own what they are.
import { aborted } from './error.js';

export class Slots {
  #free;
  #waiting = new Set();

  constructor(count) { this.#free = count; }

  async acquire(signal) {
    if (signal?.aborted) throw aborted(signal);
    if (this.#free > 0) { this.#free -= 1; return; }
    await new Promise((resolve, reject) => {
      const stop = () => { this.#waiting.delete(next); reject(aborted(signal)); };
      const next = () => { signal?.removeEventListener('abort', stop); resolve(); };
      this.#waiting.add(next);
      signal?.addEventListener('abort', stop, { once: true });
    });
  }

  release() {
    const [next] = this.#waiting;
    if (!next) { this.#free += 1; return; }
    this.#waiting.delete(next);
    next();
  }
}

/** Does `work` for each item, at most `count` at a time, and begins in the order of the items. Stops at the first failure. */
export async function each(items, count, work) {
  const iterator = items[Symbol.iterator]();
  let failure = null;
  const runner = async () => {
    for (let next; !failure && !(next = iterator.next()).done;) {
      try {
        await work(next.value);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: count }, runner));
  if (failure) throw failure.error;
}
