// Owns how the JSON of the API becomes JavaScript objects (names in camelCase, ranges of parts as pairs of numbers), and the body
// that creates a session.
// Does not own what the fields mean; see docs/api.md.
import { hex } from './digest.js';

const RANGES = new Set(['received_parts', 'missing_parts']);

/** The same value with names in camelCase. Metadata stays as it is: its names belong to the application. */
export function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [
    name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase()),
    name === 'metadata' ? inner : RANGES.has(name) ? inner.map(toPair) : camel(inner),
  ]));
}

/** `"3-7"` is `[3, 7]`, and `"5"` is `[5, 5]`. */
function toPair(range) {
  const [first, last = first] = String(range).split('-').map(Number);
  return [first, last];
}

/** The pairs of a set of numbers, ascending. */
export function toPairs(numbers) {
  const pairs = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = pairs.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else pairs.push([number, number]);
  }
  return pairs;
}

/** All numbers in the pairs. */
export function* numbersOf(pairs) {
  for (const [first, last] of pairs) for (let number = first; number <= last; number += 1) yield number;
}

/** The body that creates a session. */
export function newSession({ name, size, contentType, metadata, retainUntil, autoFinalize, idempotencyKey }) {
  return {
    original_filename: name,
    total_size_bytes: size,
    content_type: contentType || undefined,
    metadata,
    retain_until: retainUntil === undefined ? undefined : timeOf(retainUntil),
    auto_finalize: autoFinalize,
    // An answer that is lost must not leave a second session.
    idempotency_key: idempotencyKey ?? randomKey(),
  };
}

export const timeOf = (value) => (value instanceof Date ? value.toISOString() : String(value));

/** `crypto.randomUUID` needs https:// or localhost. */
const randomKey = () => hex(crypto.getRandomValues(new Uint8Array(16)));

export const isOpen = ({ status }) => status === 'INIT' || status === 'IN_PROGRESS';

/** JSON with sorted names: the same text for the same value. */
export function canonical(value) {
  return JSON.stringify(value, (_, inner) =>
    inner && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner);
}
