// Owns the form for signing in, and the check of a token by the server.
// Does not own where the token stays; see credentials.js.
import { Partway } from './client/index.js';
import { forgetRefused, isForOneUpload, keepCredentials, parseCredentials } from './credentials.js';
import { messageOf } from './messages.js';

const REFUSED = 'This token is not valid: it is mistyped, expired or revoked.';
const NO_SESSION = 'This token is for one upload. Open the link that came with it.';

export class SignIn {
  /** Whether the form was shown: it had the focus. */
  isByForm = false;
  #url;
  #section = document.querySelector('#sign-in');
  #form = document.querySelector('#sign-in-form');
  #input = document.querySelector('#token');
  #message = document.querySelector('#sign-in-message');
  #button = this.#form.querySelector('button');
  #entered = null; // While the form is open: what to call with an accepted token.

  constructor(url) {
    this.#url = url;
    this.#form.addEventListener('submit', (event) => { event.preventDefault(); this.#submit(); });
  }

  /** Signs in with these credentials, or asks for others. Resolves to `{ token, sessionId, account }`; without an account for one upload. */
  async begin(credentials) {
    if (!credentials) return this.ask('');
    const { accepted, message } = await this.#check(credentials);
    return accepted ?? this.ask(message);
  }

  /** Shows the form until the server accepts a token. */
  ask(message) {
    this.isByForm = true;
    document.querySelector('#starting').hidden = true;
    this.#section.hidden = false;
    this.#message.textContent = message;
    this.#input.value = '';
    this.#input.focus();
    return new Promise((resolve) => { this.#entered = resolve; });
  }

  async #submit() {
    const credentials = parseCredentials(this.#input.value);
    // `aria-disabled` and not `disabled`: the button keeps the focus.
    if (!credentials || this.#button.getAttribute('aria-disabled') === 'true') return;
    this.#message.textContent = '';
    this.#button.setAttribute('aria-disabled', 'true');
    this.#button.textContent = 'Signing in…';
    const { accepted, message } = await this.#check(credentials);
    this.#button.removeAttribute('aria-disabled');
    this.#button.textContent = 'Sign in';
    if (!accepted) {
      this.#message.textContent = message;
      this.#input.focus();
      return;
    }
    this.#section.hidden = true;
    this.#input.value = '';
    this.#entered(accepted);
  }

  async #check({ token, sessionId }) {
    if (isForOneUpload(token) && !sessionId) return { message: NO_SESSION };
    const partway = new Partway({ url: this.#url, token });
    try {
      const account = sessionId ? null : await partway.me();
      if (sessionId) await partway.session(sessionId);
      keepCredentials({ token, sessionId });
      return { accepted: { token, sessionId, account } };
    } catch (error) {
      // While the server is away, the token may still be good.
      if (error.status === 401) forgetRefused(token);
      return { message: error.status === 401 ? REFUSED : messageOf(error) };
    }
  }
}
