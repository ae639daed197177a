// Owns how fast an upload of another client is, computed from the states that arrive.
// Does not own the rate of this page's uploads: the client measures it.

const WINDOW = 10_000;

export class Rate {
  #samples = []; // [time, bytes]

  add(bytes) {
    if (this.#samples.at(-1)?.[1] === bytes) return;
    this.#trim();
    this.#samples.push([Date.now(), bytes]);
  }

  /** Bytes per second over the last seconds; 0 if nothing has come. */
  now() {
    this.#trim();
    const time = Date.now();
    const [[began, before] = [time, 0]] = this.#samples;
    const last = this.#samples.at(-1) ?? [0, 0];
    if (this.#samples.length < 2 || last[0] < time - WINDOW) return 0;
    return (last[1] - before) / Math.max(0.5, (time - Math.max(began, time - WINDOW)) / 1000);
  }

  /** Forgets what came before the window, except the last sample: what came in the window is counted from there. */
  #trim() {
    const begin = Date.now() - WINDOW;
    const inWindow = this.#samples.findIndex(([time]) => time >= begin);
    const before = inWindow < 0 ? this.#samples.length : inWindow;
    if (before > 1) this.#samples.splice(0, before - 1);
  }
}
