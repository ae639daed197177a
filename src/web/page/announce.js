// Owns what a screen reader hears without being asked: ends, failures and pauses, a few at a time.
// Does not own what people see.
import { plural } from './format.js';

const INTERVAL = 1000;
const MAX_TEXTS = 3;

export class Announcer {
  #region = document.querySelector('#announcements');
  #waiting = [];
  #timer = null;

  /** Says the text soon, together with what else happens in this second. */
  say(text) {
    this.#waiting.push(text);
    this.#timer ??= setTimeout(() => this.#speak(), INTERVAL);
  }

  #speak() {
    const texts = this.#waiting.splice(0);
    this.#timer = null;
    const more = texts.length - MAX_TEXTS;
    this.#region.textContent = [...texts.slice(0, MAX_TEXTS), ...(more > 0 ? [`And ${plural(more, 'other change')}.`] : [])].join(' ');
  }
}
