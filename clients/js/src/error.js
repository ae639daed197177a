// Owns the error that every method throws, and how it is made of an answer.
// Does not own the decision to try again; see retry.js.
import { camel } from './model.js';

/** What the server, the network or this client refused. `code` is stable; see docs/api.md, "Errors". */
export class PartwayError extends Error {
  /**
   * @param {string} code
   * @param {string} detail For people.
   * @param {{ status?: number, retryable?: boolean, details?: object, requestId?: string, retryAfter?: number, cause?: unknown }} [more]
   */
  constructor(code, detail, { status = 0, retryable = false, details = {}, requestId, retryAfter, cause } = {}) {
    super(detail, cause === undefined ? undefined : { cause });
    Object.assign(this, { name: 'PartwayError', code, status, detail, retryable, details, requestId });
    // In milliseconds. Not part of what an application needs.
    Object.defineProperty(this, 'retryAfter', { value: retryAfter });
  }
}

/** The error for an answer that is not a success. `header` reads a header of the answer. */
export function fromAnswer(status, text, header) {
  let problem;
  try { problem = JSON.parse(text); } catch { /* A proxy may answer with HTML. */ }
  const { code, detail, retryable, request_id: id, type, title, status: _, ...details } = Object(problem);
  const isTemporary = status === 408 || status === 425 || status === 429 || status === 502 || status === 503 || status === 504;
  return new PartwayError(code ?? `HTTP_${status}`, detail ?? `The server answered ${status}`, {
    status,
    retryable: retryable ?? isTemporary,
    details: camel(details),
    requestId: id ?? header('x-request-id') ?? undefined,
    retryAfter: retryAfter(header('retry-after')),
  });
}

/** `Retry-After` in milliseconds, from seconds or a date. */
function retryAfter(value) {
  if (!value) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

/** The error for a request without an answer. */
export const noAnswer = (cause) => new PartwayError('NO_ANSWER', 'The server cannot be reached', { retryable: true, cause });

/** What an aborted signal throws. */
export const aborted = (signal) => signal.reason ?? new DOMException('The upload was aborted', 'AbortError');
