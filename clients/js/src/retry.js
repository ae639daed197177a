// Owns when a request is sent again: growing delays with jitter, `Retry-After`, and no attempts while the device is offline.
// Does not own requests.
import { aborted } from './error.js';

const FIRST = 500;
const LONGEST = 20_000;

const isOffline = () => globalThis.navigator?.onLine === false;

/** How long to wait before attempt number `attempt` (from 1): never less than the server has asked for. */
export function delay(attempt, retryAfter = 0) {
  const growing = Math.min(LONGEST, FIRST * 2 ** (attempt - 1));
  return retryAfter + growing * (0.5 + Math.random() / 2);
}

/** Waits. Resolves to true if it ended early because the device came back online; only for waits that no server asked for. */
export function sleep(milliseconds, signal, { wakeOnline = false } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(signal));
    const end = (settle, value) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      if (wakeOnline) globalThis.removeEventListener?.('online', wake);
      settle(value);
    };
    const stop = () => end(reject, aborted(signal));
    const wake = () => end(resolve, true);
    const timer = setTimeout(() => end(resolve, false), milliseconds);
    signal?.addEventListener('abort', stop);
    if (wakeOnline) globalThis.addEventListener?.('online', wake);
  });
}

/** Waits until the device is online, as far as the platform knows. */
export async function online(signal) {
  // Not by the event alone: some platforms do not send it to every page.
  while (isOffline()) await sleep(5000, signal, { wakeOnline: true });
}

/**
 * Does `work` until it succeeds or fails for good. Gives up after some time without progress (`budget`), not counting the
 * time offline.
 * @template T
 * @param {() => Promise<T>} work
 * @param {{ signal?: AbortSignal, budget: RetryBudget, onRetry?: (error: any, wait: number) => void }} options
 * @returns {Promise<T>}
 */
export async function retrying(work, { signal, budget, onRetry }) {
  let spent = 0;
  let { steps } = budget;
  for (let attempt = 1; ; attempt += 1) {
    await online(signal);
    const began = Date.now();
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted) throw aborted(signal);
      if (error?.retryable !== true) throw error;
      if (isOffline()) continue;
      if (budget.steps !== steps) [attempt, spent, steps] = [1, 0, budget.steps];
      // A device that slept has not tried for all that time.
      spent += Math.min(Date.now() - began, 120_000);
      if (spent >= budget.limit) throw error;
      const wait = delay(attempt, error.retryAfter);
      onRetry?.(error, wait);
      await sleep(wait, signal, { wakeOnline: error.retryAfter === undefined });
      spent += wait;
    }
  }
}

/** How long attempts may go on without progress. Several of them can share one: the progress of any renews that of all. */
export class RetryBudget {
  steps = 0;
  constructor(limit) { this.limit = limit; }
  renew() { this.steps += 1; }
}
