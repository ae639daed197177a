// Owns the token: asks the application's callback for it, and again after the server refused it.
// Does not own the decision when to ask again; see http.js.
import { PartwayError, noAnswer } from './error.js';

export class Token {
  #source;
  #current; // The promise of the token in use; all requests share it.

  /** @param {string | (() => string | Promise<string>)} source */
  constructor(source) {
    this.#source = source;
  }

  /** The token in use. */
  get() {
    if (typeof this.#source === 'string') return Promise.resolve(this.#source);
    this.#current ??= this.#ask();
    return this.#current;
  }

  /** A token other than the refused one, or null if there is no way to another. Calls at the same time share one callback. */
  async after(refused) {
    if (typeof this.#source === 'string') return null;
    const asked = this.#current;
    if (asked && (await asked.catch(() => refused)) === refused && this.#current === asked) this.#current = undefined;
    return this.get();
  }

  #ask() {
    const asking = (async () => this.#source())().catch((error) => {
      if (error instanceof PartwayError) throw error;
      // What `fetch` throws without an answer. Another error means that there is no token.
      throw error instanceof TypeError ? noAnswer(error)
        : new PartwayError('NO_TOKEN', `The token callback failed: ${error?.message ?? error}`, { cause: error });
    });
    asking.catch(() => { if (this.#current === asking) this.#current = undefined; });
    return asking;
  }
}
