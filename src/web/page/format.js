// Owns how numbers and times read. Does not own which of them a row shows; see words.js.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const count = new Intl.NumberFormat();
const time = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export const formatCount = (number) => count.format(number);

/** `1` is "1 file", `2` is "2 files". */
export const plural = (number, one, many = `${one}s`) => `${formatCount(number)} ${number === 1 ? one : many}`;

export function formatBytes(bytes) {
  const unit = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** unit;
  return `${unit === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${UNITS[unit]}`;
}

/** A name with its marks of direction in sight: with them, a name can look like another one. */
export const formatName = (name) => name.replace(/[\u200E\u200F\u202A-\u202E\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16).toUpperCase()}`);

/** Whole percent; 100 only if nothing is missing. */
export const percentOf = (part, whole) => (part >= whole ? 100 : Math.min(99, Math.floor((part / whole) * 100)));

export function formatSeconds(seconds) {
  if (seconds < 1) return 'less than 1 s';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

/** The time of today; otherwise with the date. */
export function formatTime(value) {
  const date = new Date(value);
  return date.toDateString() === new Date().toDateString() ? time.format(date) : dateAndTime.format(date);
}
