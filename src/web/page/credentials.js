// Owns the token of this tab: where it comes from and where it stays. GraphiQL's page uses the same place.
// Does not own whether the server accepts it; see sign_in.js.

const TOKEN = 'partway.token';
const SESSION = 'partway.session';

/** Whether the token opens one session only. */
export const isForOneUpload = (token) => token.startsWith('pu_');

/**
 * What somebody has typed or copied: a token, also as `Bearer …` or as the line that the server prints, or a link whose fragment has one.
 * `sessionId` is that of the only session that a token for one upload opens.
 * @returns {{ token: string, sessionId: string | null } | null}
 */
export function parseCredentials(text) {
  const trimmed = text.trim().replace(/^(export\s+PARTWAY_TOKEN=|Bearer\s+)/i, '').replace(/^(["'])(.*)\1$/, '$2').trim();
  const fragment = /[#&]token=/.test(trimmed) ? trimmed.slice(trimmed.indexOf('#') + 1) : null;
  const values = new URLSearchParams(fragment ?? '');
  const token = fragment === null ? trimmed : values.get('token');
  if (!token) return null;
  return { token, sessionId: isForOneUpload(token) ? values.get('session') : null };
}

/**
 * Removes a token from the address bar and returns it, or returns that of this tab. The browser never sends a fragment to a server.
 * A link does not replace the token of this tab before the server has accepted its own.
 */
export function takeCredentials() {
  const given = location.hash.includes('token=') ? parseCredentials(location.hash) : null;
  if (given) {
    history.replaceState(null, '', location.pathname + location.search);
    if (!sessionStorage.getItem(TOKEN)) keepCredentials(given);
    return given;
  }
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return null;
  return { token, sessionId: isForOneUpload(token) ? sessionStorage.getItem(SESSION) : null };
}

export function keepCredentials({ token, sessionId }) {
  sessionStorage.setItem(TOKEN, token);
  if (sessionId) sessionStorage.setItem(SESSION, sessionId);
  else sessionStorage.removeItem(SESSION);
}

/** Forgets the token of this tab, if it is this one. */
export function forgetRefused(token) {
  if (sessionStorage.getItem(TOKEN) === token) forgetCredentials();
}

export function forgetCredentials() {
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(SESSION);
}

/** A link to this page with a token for one upload. */
export const linkToUpload = (token, sessionId) => `${new URL('.', location.href).href}#${new URLSearchParams({ token, session: sessionId })}`;
