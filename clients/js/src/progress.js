// Owns the numbers of a running upload: what is confirmed, what is under way, how fast, and how long it will take.
// Does not own when listeners hear of them; see upload.js.
import { toPairs } from './model.js';

/** The rate is that of the last seconds. */
const WINDOW = 8000;

export class Progress {
  #total;
  #chunk = 0;
  #confirmed = new Set(); // numbers of parts
  #underWay = new Map(); // the number of a part -> its bytes that have left
  #bytesConfirmed = 0;
  #bytesCompared = 0;
  #samples = []; // [time, bytes] of what was sent

  constructor(total) { this.#total = total; }

  /** Begins with what the server has of this session. */
  begin(chunkSize, received) {
    this.#chunk = chunkSize;
    this.#confirmed = new Set();
    this.#underWay.clear();
    this.#bytesConfirmed = 0;
    this.#bytesCompared = 0;
    for (const number of received) this.confirm(number);
  }

  size(number) { return Math.min(this.#chunk, this.#total - (number - 1) * this.#chunk); }

  compared(number) { this.#bytesCompared += this.size(number); }

  has(number) { return this.#confirmed.has(number); }

  /** Bytes of a part have left. Part of them may have to be sent again. */
  sent(number, bytes) {
    const before = this.#underWay.get(number) ?? 0;
    this.#underWay.set(number, bytes);
    if (bytes > before) this.#samples.push([Date.now(), bytes - before]);
  }

  failed(number) { this.#underWay.delete(number); }

  /** The server has the part. */
  confirm(number) {
    this.#underWay.delete(number);
    if (this.#confirmed.has(number)) return;
    this.#confirmed.add(number);
    this.#bytesConfirmed += this.size(number);
  }

  now() {
    const time = Date.now();
    while (this.#samples.length > 0 && this.#samples[0][0] < time - WINDOW) this.#samples.shift();
    const bytesConfirmed = this.#bytesConfirmed;
    let bytesSent = bytesConfirmed;
    for (const bytes of this.#underWay.values()) bytesSent += bytes;
    // What the first sample counts left before its time.
    const moved = this.#samples.slice(1).reduce((sum, [, bytes]) => sum + bytes, 0);
    const lasted = this.#samples.length > 1 ? (time - this.#samples[0][0]) / 1000 : 0;
    const rate = lasted > 0.2 ? moved / lasted : 0;
    const left = this.#total - bytesSent;
    const confirmed = this.#confirmed;
    return {
      bytesSent, bytesConfirmed, bytesCompared: this.#bytesCompared, totalBytes: this.#total, rate,
      eta: left === 0 ? 0 : rate > 0 ? left / rate : null,
      get ranges() { return toPairs(confirmed); },
    };
  }
}
