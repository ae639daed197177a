// Owns what the page says and offers for all its uploads together.
// Does not own single uploads; see row.js.
import { formatCount, plural } from './format.js';
import { messageOf } from './messages.js';

const element = (id) => document.getElementById(id);

export class Batch {
  #store;
  #uploads;

  constructor(store, uploads, dialogs) {
    this.#store = store;
    this.#uploads = uploads;
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
    store.onChange(() => this.#draw());
  }

  #draw() {
    let canRetry = false;
    const counts = { running: 0, waiting: 0, paused: 0, stored: 0, failed: 0 };
    for (const { upload, status, isRunning } of this.#store.entries) {
      if (!upload) continue;
      if (status === 'stopped') canRetry = true;
      if (status === 'waiting' || status === 'paused') counts[status] += 1;
      else if (isRunning) counts.running += 1;
      else if (status === 'stored') counts.stored += 1;
      else if (status === 'stopped' || status === 'failed') counts.failed += 1;
    }
    const going = counts.running + counts.waiting + counts.paused;
    const isShown = going + counts.failed > 1;
    // A button that goes away must not take the focus with it.
    if (!isShown && element('batch').contains(document.activeElement)) element('choose-files').focus();
    element('batch').hidden = !isShown;
    const texts = Object.entries(counts).filter(([, count]) => count > 0).map(([name, count]) => `${formatCount(count)} ${name}`);
    element('batch-text').textContent = `This page: ${texts.join(', ')}.`;
    const enable = (id, isEnabled) => element(id).setAttribute('aria-disabled', String(!isEnabled));
    enable('pause-all', counts.running + counts.waiting > 0);
    enable('resume-all', counts.paused > 0);
    enable('retry-all', canRetry);
    enable('abort-all', going > 0);
  }
}
