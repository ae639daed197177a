// Owns what the page says and offers for all its uploads together.
// Does not own single uploads; see row.js.
import { formatCount, plural } from './format.js';
import { messageOf } from './messages.js';

const element = (id) => document.getElementById(id);

export class Batch {
  #store;
  #isShown = false;
  #dismissed = 0; // how many uploads there were when the user dismissed the result

  constructor(store, uploads, dialogs) {
    this.#store = store;
    const each = (isMeant, act) => () => { for (const entry of [...store.entries]) if (isMeant(entry)) act(entry); };
    element('pause-all').addEventListener('click', each(({ isRunning, status }) => isRunning && status !== 'paused', ({ upload }) => upload.pause()));
    element('resume-all').addEventListener('click', each(({ status }) => status === 'paused', (entry) => uploads.resume(entry)));
    element('retry-all').addEventListener('click', each(({ status }) => status === 'stopped', (entry) => uploads.retry(entry)));
    element('abort-all').addEventListener('click', async () => {
      const { running } = uploads;
      if (running.length === 0) return;
      const text = `This aborts ${plural(running.length, 'upload')} from this page. The server deletes what it has received.`;
      if (!await dialogs.ask({ title: 'Abort all uploads?', text, yes: 'Abort all', no: 'Keep them' })) return;
      // Those that wait first: otherwise each that ends would let one of them begin.
      const waitingFirst = running.filter(({ isRunning }) => isRunning)
        .sort((a, b) => Number(b.status === 'waiting') - Number(a.status === 'waiting'));
      await Promise.all(waitingFirst.map((entry) => uploads.abort(entry).catch((error) => {
        entry.note = { text: messageOf(error), isError: true };
      })));
      store.changed();
    });
    element('dismiss').addEventListener('click', () => {
      const { going, total } = this.#count();
      if (going > 0) return;
      this.#dismissed = total;
      this.#isShown = false;
      store.changed();
    });
    store.onChange(() => this.#draw());
  }

  #count() {
    const counts = { running: 0, waiting: 0, paused: 0, stored: 0, failed: 0 };
    let [total, canRetry] = [0, false];
    for (const { upload, status, isRunning } of this.#store.entries) {
      if (!upload) continue;
      total += 1;
      if (status === 'stopped') canRetry = true;
      if (status === 'waiting' || status === 'paused') counts[status] += 1;
      else if (isRunning) counts.running += 1;
      else if (status === 'stored') counts.stored += 1;
      else if (status === 'stopped' || status === 'failed') counts.failed += 1;
    }
    return { counts, total, canRetry, going: counts.running + counts.waiting + counts.paused };
  }

  #draw() {
    const { counts, total, canRetry, going } = this.#count();
    // The result stays until the user dismisses it: the list below must not jump when the last upload ends.
    if (going + counts.failed > 1 && total > this.#dismissed) this.#isShown = true;
    // A button that goes away must not take the focus with it.
    if (!this.#isShown && element('batch').contains(document.activeElement)) element('choose-files').focus();
    element('batch').hidden = !this.#isShown;
    const texts = Object.entries(counts).filter(([, count]) => count > 0).map(([name, count]) => `${formatCount(count)} ${name}`);
    element('batch-text').textContent = `This page: ${texts.join(', ') || 'nothing is running'}.`;
    const enable = (id, isEnabled) => element(id).setAttribute('aria-disabled', String(!isEnabled));
    enable('pause-all', counts.running + counts.waiting > 0);
    enable('resume-all', counts.paused > 0);
    enable('retry-all', canRetry);
    enable('abort-all', going > 0);
    enable('dismiss', going === 0);
  }

  /** Tells in the title of the tab how the uploads are. Not in `#draw`: browsers draw nothing in a hidden tab. */
  updateTitle() {
    const { counts } = this.#count();
    const uploading = counts.running + counts.waiting;
    document.title = [uploading > 0 ? `${formatCount(uploading)} uploading` : counts.failed > 0 ? `${formatCount(counts.failed)} failed` : '', 'Partway']
      .filter(Boolean).join(' – ');
  }
}
