// Starts the page: signs in, and connects the parts with each other.
// Owns no state but the sign-in; each part has its own module.
import { Partway } from './client/index.js';
import { Account } from './account.js';
import { Actions } from './actions.js';
import { Announcer } from './announce.js';
import { Batch } from './batch.js';
import { forgetCredentials, takeCredentials } from './credentials.js';
import { Dialogs } from './dialogs.js';
import { acceptFiles, chooseFile } from './drop.js';
import { Filters } from './filters.js';
import { List } from './list.js';
import { follow } from './live.js';
import { Older } from './older.js';
import { SignIn } from './sign_in.js';
import { Store } from './store.js';
import { Uploads } from './uploads.js';
import { statusText } from './words.js';

// Relative to this page, because a proxy may serve it under any path.
const SERVER = new URL('.', location.href).href;
const element = (id) => document.getElementById(id);

const signIn = new SignIn(SERVER);
const credentials = takeCredentials();
addEventListener('hashchange', () => { if (location.hash.includes('token=')) location.reload(); });
// Before the sign-in: a file that is dropped on the form must not take the place of the page.
acceptFiles({
  add: (file, path) => {
    store.notify('files', '');
    if (isOwner) {
      filters.showAll();
      return uploads.add(file, path);
    }
    const [entry] = store.entries;
    if (entry && actions.of(entry).includes('choose')) uploads.continue(entry, file);
  },
  fail: (text) => store.notify('files', text),
  isActive: () => !element('app').hidden && !document.querySelector('dialog[open]'),
});
const signedIn = await signIn.begin(credentials);
element('starting').hidden = true;

const isOwner = signedIn.sessionId === null;
const store = new Store();
const announcer = new Announcer();
const dialogs = new Dialogs();
const partway = new Partway({ url: SERVER, token: tokens() });
const uploads = new Uploads(partway, store, announcer);
const actions = new Actions({ partway, store, uploads, dialogs, announcer, chooseFile, isOwner });
const older = new Older(partway, store);
const list = new List(store, actions, (count) => older.more(count));
const account = new Account(partway, store);
const batch = new Batch(store, uploads, dialogs);
const filters = isOwner ? new Filters(store, older, list) : null;
store.onEnd((entry) => announcer.say(`${entry.title}: ${statusText(entry)}.`));

let isLeaving = false;
addEventListener('beforeunload', (event) => { if (!isLeaving && uploads.running.length > 0) event.preventDefault(); });

element('sign-out').addEventListener('click', async () => {
  const count = uploads.running.length;
  const text = `${count === 1 ? 'One upload' : `${count} uploads`} on this page will stop. The server keeps what it has received.`;
  if (count > 0 && !await dialogs.ask({ title: 'Sign out?', text, yes: 'Sign out', no: 'Stay' })) return;
  forgetCredentials();
  reload();
});

store.onChange(() => { if (element('notice').textContent !== store.notice) element('notice').textContent = store.notice; });
show(signedIn.account);
if (signIn.isByForm) element('uploads-heading').focus();
follow(partway, store, signedIn.sessionId);
if (isOwner) older.begin();
// Times and rates change by themselves.
setInterval(() => { uploads.refresh(); batch.updateTitle(); }, 1000);

/** The token, and another one after the server has refused it: uploads wait until somebody has signed in again. */
function tokens() {
  let isUsed = false;
  return async () => {
    if (!isUsed) { isUsed = true; return signedIn.token; }
    element('app').hidden = true;
    element('tools').hidden = true;
    const again = await signIn.ask(isOwner
      ? 'Your token has expired or was revoked. Sign in again to continue the uploads on this page.'
      : 'This link has expired. Ask for a new one.');
    if (again.sessionId !== signedIn.sessionId || again.account?.owner !== signedIn.account?.owner) {
      reload();
      return new Promise(() => {}); // Nothing of this page goes on.
    }
    show(again.account);
    element('uploads-heading').focus();
    return again.token;
  };
}

function reload() {
  isLeaving = true;
  uploads.leave();
  location.reload();
}

function show(given) {
  element('app').hidden = false;
  element('tools').hidden = false;
  element('graphiql').hidden = !isOwner;
  element('uploads-heading').textContent = isOwner ? 'Your uploads' : 'This upload';
  for (const id of ['upload', 'filters']) element(id).hidden = !isOwner;
  account.show(given);
}
