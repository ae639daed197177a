// Owns the owner's name and usage in the header. Reads them again after uploads have begun, ended or been deleted.
// Does not own the sign-in.
import { formatBytes } from './format.js';

const INTERVAL = 5000;

export class Account {
  #partway;
  #store;
  #seen = '';

  constructor(partway, store) {
    this.#partway = partway;
    this.#store = store;
  }

  /** Shows the account; null with a token for one upload. */
  show(account) {
    const text = account === null ? 'Signed in for one upload' : textOf(account);
    document.querySelector('#account').textContent = text;
    if (account === null || this.#seen) return;
    this.#seen = this.#state();
    setInterval(() => this.#refresh(), INTERVAL);
  }

  async #refresh() {
    const state = this.#state();
    if (document.hidden || state === this.#seen) return;
    const before = this.#seen;
    this.#seen = state;
    try {
      this.show(await this.#partway.me());
    } catch {
      this.#seen = before; // Asks again.
    }
  }

  /** What changes the usage. */
  #state() {
    let [open, stored] = [0, 0];
    for (const { session, isEnded, status } of this.#store.entries) {
      if (session && !isEnded) open += 1;
      if (status === 'stored') stored += 1;
    }
    return `${open} ${stored}`;
  }
}

const textOf = ({ owner, bytesUsed, bytesLimit }) =>
  `${owner} · ${formatBytes(bytesUsed)}${bytesLimit === null ? '' : ` of ${formatBytes(bytesLimit)}`} used`;
