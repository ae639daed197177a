// Owns the list: which rows are drawn and in which order, so that neither thousands of entries nor an update disturb the reader.
// Does not own the rows (row.js), nor which entries match the filters (store.js).
import { formatCount } from './format.js';
import { Row } from './row.js';

const FIRST = { open: 50, ended: 20 };
const STEP = 50;
const element = (id) => document.getElementById(id);

export class List {
  #store;
  #actions;
  #loadMore;
  #rows = new Map(); // entry -> Row
  #shown = { ...FIRST };

  /** `loadMore(count)` loads older ended sessions. */
  constructor(store, actions, loadMore) {
    this.#store = store;
    this.#actions = actions;
    this.#loadMore = loadMore;
    element('open-more').addEventListener('click', () => this.#show('open'));
    element('ended-more').addEventListener('click', () => this.#show('ended'));
    new ResizeObserver(() => store.changed()).observe(element('uploads'));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => store.changed());
    store.onChange(() => this.#draw());
  }

  /** Shows as many rows as at the beginning. */
  reset() { this.#shown = { ...FIRST }; }

  async #show(part) {
    this.#shown[part] += STEP;
    this.#store.changed();
    const lacking = this.#shown.ended - this.#store.visible().ended.length;
    if (part === 'ended' && lacking > 0) await this.#loadMore(lacking);
  }

  #draw() {
    const { open, ended } = this.#store.visible();
    const drawn = { open: open.slice(0, this.#shown.open), ended: ended.slice(0, this.#shown.ended) };
    this.#keepingFocus(() => {
      const wanted = new Set([...drawn.open, ...drawn.ended]);
      for (const [entry, row] of this.#rows) {
        if (wanted.has(entry)) { row.update(); continue; }
        row.element.remove();
        this.#rows.delete(entry);
      }
      // First: this takes ended rows out of the open ones.
      this.#place('ended', drawn.ended);
      this.#place('open', drawn.open);
      this.#updateTexts(open, ended);
    });
    for (const row of this.#rows.values()) row.draw();
  }

  /** Puts the rows in order, and moves only those that are not in their place. */
  #place(part, entries) {
    let at = element(part).firstElementChild;
    for (const entry of entries) {
      if (!this.#rows.has(entry)) this.#rows.set(entry, new Row(entry, this.#actions));
      const row = this.#rows.get(entry).element;
      if (row === at) at = at.nextElementSibling;
      else element(part).insertBefore(row, at);
    }
  }

  /** An element that is moved, hidden or removed loses the focus: it gets it again, or its row does, or the heading. */
  #keepingFocus(change) {
    const focused = element('uploads').contains(document.activeElement) ? document.activeElement : null;
    const [, row] = [...this.#rows].find(([, { element: rowElement }]) => rowElement.contains(focused)) ?? [];
    change();
    if (!focused || (document.activeElement === focused && focused.checkVisibility())) return;
    if (focused.isConnected && focused.checkVisibility()) focused.focus({ preventScroll: true });
    else if (row?.element.isConnected) row.focus();
    else element('uploads-heading').focus({ preventScroll: true });
  }

  #updateTexts(open, ended) {
    const { hasMore, filter, search, exactName } = this.#store;
    const [openRest, endedRest] = [open.length - this.#shown.open, ended.length - this.#shown.ended];
    const waiting = open.slice(this.#shown.open).filter(({ status }) => status === 'waiting').length;
    element('open-part').hidden = open.length === 0;
    element('open-heading').textContent = `Open (${formatCount(open.length)})`;
    element('open-more').parentElement.hidden = openRest <= 0;
    element('open-rest').textContent = `${formatCount(openRest)} more${waiting > 0 ? `, ${formatCount(waiting)} of them waiting` : ''}.`;
    element('ended-part').hidden = ended.length === 0 && !hasMore;
    element('ended-more').parentElement.hidden = endedRest <= 0 && !hasMore;
    element('ended-rest').textContent = endedRest > 0 ? `${formatCount(endedRest)} more.` : '';
    const isSearch = search.trim() !== '' && exactName === null;
    const isEmpty = open.length + ended.length === 0 && (!hasMore || isSearch);
    element('empty').hidden = !isEmpty;
    if (!isEmpty) return;
    const isFiltered = filter !== 'all' || search || exactName !== null;
    if (hasMore) element('empty').textContent = 'None of the loaded uploads match. Press Enter to search the server for this exact name, or load more.';
    else element('empty').textContent = isFiltered ? 'No uploads match.' : 'There are no uploads yet: drop a file on this page, or choose one.';
  }
}
