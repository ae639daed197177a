// Owns one upload as the application sees it: its state, its events, its promise, pause, resume and abort.
// Does not own what an upload does; see transfer.js.
import { PartwayError, aborted } from './error.js';
import { Progress } from './progress.js';
import { RetryBudget, retrying } from './retry.js';
import { openSource } from './source.js';
import { abortOnServer, transfer } from './transfer.js';

const RETRY_FOR = 5 * 60_000;
const PROGRESS_EVERY = 100;

export class Upload {
  #client;
  #controller = new AbortController();
  #running = new AbortController(); // Aborted by a pause too.
  #resumed = null; // While paused: { promise, resolve }.
  #hasSlot = false;
  #listeners = { state: new Set(), progress: new Set(), retry: new Set() };
  #state = 'waiting';
  #beforePause = 'waiting';
  #lastProgress = 0;
  #abortedOnServer = null;
  #result;

  /** @param {{ http: import('./http.js').Http, digests: import('./digest.js').Digests, slots: import('./slots.js').Slots }} client */
  constructor(client, source, options = {}) {
    this.#client = client;
    const { signal, onProgress, onState, retryFor = RETRY_FOR, abortSession = false } = options;
    if (onProgress) this.on('progress', onProgress);
    if (onState) this.on('state', onState);
    this.budget = new RetryBudget(retryFor);
    /** The id of the session; null until there is one. */
    this.sessionId = null;
    const stop = () => this.abort({ session: abortSession, reason: signal.reason });
    this.#result = this.#run(source, options).finally(() => signal?.removeEventListener('abort', stop));
    // An application that only listens to events does not handle the promise.
    this.#result.catch(() => {});
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
  }

  get state() { return this.#state; }
  get progress() { return this.numbers?.now() ?? null; }

  then(done, failed) { return this.#result.then(done, failed); }
  catch(failed) { return this.#result.catch(failed); }
  finally(work) { return this.#result.finally(work); }

  /** Calls the listener on each event of this name. Returns the function that ends this. */
  on(event, listener) {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  /** Stops sending. What the server has confirmed stays. */
  pause() {
    if (this.#resumed || this.#isOver()) return;
    let resolve;
    const promise = new Promise((done) => { resolve = done; });
    this.#resumed = { promise, resolve };
    this.#beforePause = this.#state;
    this.#running.abort();
    if (this.#hasSlot) this.#release();
    this.#enter('paused');
  }

  resume() {
    if (!this.#resumed || this.#isOver()) return;
    const { resolve } = this.#resumed;
    this.#resumed = null;
    this.#running = new AbortController();
    this.budget.renew();
    this.#enter(this.#beforePause);
    resolve();
  }

  /** Ends the upload. With `session`, the server forgets what it has; otherwise another upload of the file continues. */
  async abort({ session = false, reason = new DOMException('The upload was aborted', 'AbortError') } = {}) {
    if (!this.#isOver()) {
      this.#controller.abort(reason);
      this.#running.abort(reason);
      this.#resumed?.resolve();
      this.#enter('aborted');
    }
    if (this.#state !== 'aborted') return;
    await this.#result.catch(() => {});
    if (session) this.#abortedOnServer ??= abortOnServer(this);
    await this.#abortedOnServer;
  }

  // --- For transfer.js ---

  get http() { return this.#client.http; }
  get digests() { return this.#client.digests; }
  get signal() { return this.#controller.signal; }

  enter(state) {
    if (this.#isOver()) return;
    if (this.#resumed) this.#beforePause = state;
    else this.#enter(state);
  }

  /** Does `work` again after temporary failures, and after a pause that interrupts it. */
  async attempt(work) {
    for (;;) {
      await this.#ready();
      const { signal } = this.#running;
      try {
        return await retrying(() => work(signal), {
          signal, budget: this.budget,
          onRetry: (error, wait) => this.#emit('retry', { error, wait }),
        });
      } catch (error) {
        if (this.signal.aborted) throw aborted(this.signal);
        if (!signal.aborted) throw error;
      }
    }
  }

  /** Tells how far the upload is, at most ten times a second unless `isStep`. */
  reportProgress(isStep) {
    const time = Date.now();
    if (!isStep && time - this.#lastProgress < PROGRESS_EVERY) return;
    this.#lastProgress = time;
    if (this.#listeners.progress.size > 0 && !this.#isOver()) this.#emit('progress', this.numbers.now());
  }

  // --- Own ---

  #isOver() { return this.#state === 'done' || this.#state === 'failed' || this.#state === 'aborted'; }

  async #run(input, options) {
    // The application can add listeners before the first event.
    await null;
    this.#client.digests.begin();
    try {
      const source = openSource(input);
      this.numbers = new Progress(source.size);
      await this.#ready();
      const file = await transfer(this, source, options);
      if (this.signal.aborted) throw aborted(this.signal);
      this.#enter('done');
      return file;
    } catch (error) {
      if (!this.#isOver()) this.#enter('failed');
      if (this.signal.aborted || error instanceof PartwayError) throw error;
      throw new PartwayError('FAILED', `The upload failed: ${error?.message ?? error}`, { cause: error });
    } finally {
      if (this.#hasSlot) this.#release();
      this.#client.digests.end();
    }
  }

  /** Waits while paused, and for its turn: a paused upload lets others run. */
  async #ready() {
    while (this.#resumed || !this.#hasSlot) {
      await this.#resumed?.promise;
      if (this.signal.aborted) throw aborted(this.signal);
      if (!this.#resumed && !this.#hasSlot) await this.#take();
    }
    if (this.signal.aborted) throw aborted(this.signal);
  }

  #taking = null;
  #take() {
    this.#taking ??= this.#client.slots.acquire(this.signal).then(() => {
      this.#hasSlot = true;
      // Paused while it waited.
      if (this.#resumed) this.#release();
    }).finally(() => { this.#taking = null; });
    return this.#taking;
  }

  #release() {
    this.#hasSlot = false;
    this.#client.slots.release();
  }

  #enter(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#emit('state', state);
  }

  #emit(event, value) {
    for (const listener of this.#listeners[event]) {
      // A fault of the application must not stop the upload, and must not be hidden.
      try { listener(value); } catch (error) { queueMicrotask(() => { throw error; }); }
    }
  }
}
