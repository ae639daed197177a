// Owns how fast an upload of another client is, computed from the states that arrive.
// Does not own the rate of this page's uploads: the client measures it.

const WINDOW = 10_000;
/** A slow client sends a part in more than a window: the last states count too, if they are not too old. */
const MIN_SAMPLES = 3;
const MAX_AGE = 120_000;

export class Rate {
  #samples = []; // [time, bytes]
  #bytes = null;
  #arrived = 0;

  /** A state has this many bytes. The first one tells nothing of when they have arrived. */
  add(bytes) {
    if (bytes === this.#bytes) return;
    if (this.#bytes !== null) this.#arrived = Date.now();
    this.#bytes = bytes;
    this.#trim();
    this.#samples.push([Date.now(), bytes]);
  }

  /** How many milliseconds ago bytes have arrived; null if that is long ago. */
  get lastArrival() {
    const age = Date.now() - this.#arrived;
    return age < MAX_AGE ? age : null;
  }

  /** Bytes per second; 0 if it is not known, or nothing has arrived. */
  now() {
    this.#trim();
    if (this.#samples.length < 2) return 0;
    const [[began, before]] = this.#samples;
    return (this.#bytes - before) / Math.max(0.5, (Date.now() - began) / 1000);
  }

  #trim() {
    const time = Date.now();
    const samples = this.#samples;
    let old = 0;
    for (; old < samples.length; old += 1) {
      const age = time - samples[old][0];
      if (age <= WINDOW || (age <= MAX_AGE && samples.length - old <= MIN_SAMPLES)) break;
    }
    if (old > 0) samples.splice(0, old);
  }
}
