// Owns one row of the list: its elements, made once and changed in place.
// Does not own the words (words.js), nor what the buttons do (actions.js).
import { ACTIONS, labelOf } from './actions.js';
import { formatBytes, formatName, percentOf } from './format.js';
import { drawRanges } from './ranges.js';
import { noteOf, numbersText, statusText } from './words.js';

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/** Changes the text only if it differs, so that nothing is drawn or read again. */
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const setAttribute = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };

export class Row {
  #entry;
  #actions;
  #folder = make('bdi', 'folder');
  #name = make('bdi', 'name');
  #status = make('p', 'status');
  #canvas = make('canvas', '');
  #bar = make('div', 'bar', this.#canvas);
  #numbers = make('p', 'numbers');
  #note = make('p', 'note');
  #buttons = new Map();
  #group = make('div', 'buttons');
  #title = make('h4', '', this.#folder, this.#name);
  #drawn = '';

  constructor(entry, actions) {
    this.#entry = entry;
    this.#actions = actions;
    // Takes the focus when the button that had it goes away.
    this.#title.tabIndex = -1;
    this.#canvas.setAttribute('aria-hidden', 'true');
    this.#bar.setAttribute('role', 'progressbar');
    this.#bar.setAttribute('aria-valuemin', '0');
    this.#bar.setAttribute('aria-valuemax', '100');
    this.#group.setAttribute('role', 'group');
    this.element = make('li', 'row', make('div', 'head', this.#title, this.#status), this.#bar, this.#numbers, this.#group, this.#note);
    this.update();
  }

  focus() { this.#title.focus({ preventScroll: true }); }

  update() {
    const entry = this.#entry;
    const note = noteOf(entry);
    this.element.dataset.status = entry.isArriving ? 'arriving' : entry.status;
    setText(this.#folder, formatName(entry.folder));
    setText(this.#name, entry.title);
    setText(this.#status, statusText(entry));
    setText(this.#numbers, numbersText(entry));
    setText(this.#note, note?.text ?? '');
    this.#note.hidden = !note;
    this.#note.classList.toggle('error', Boolean(note?.isError));
    setAttribute(this.#bar, 'aria-label', `Progress of ${entry.title}`);
    const percent = percentOf(entry.bytes, entry.size);
    setAttribute(this.#bar, 'aria-valuenow', String(percent));
    setAttribute(this.#bar, 'aria-valuetext', `${percent}%, ${formatBytes(entry.bytes)} of ${formatBytes(entry.size)}`);
    this.#updateButtons();
  }

  /** Draws the bar, if something has changed. Reads the layout, so all rows are updated before. */
  draw() {
    const { session, progress } = this.#entry;
    const state = `${this.element.dataset.status} ${session?.version} ${progress?.bytesConfirmed} ${this.#canvas.clientWidth} ${matchMedia('(prefers-color-scheme: dark)').matches}`;
    if (state === this.#drawn) return;
    this.#drawn = state;
    const { ranges, parts } = this.#entry.ranges;
    drawRanges(this.#canvas, ranges, parts);
  }

  #updateButtons() {
    const entry = this.#entry;
    const wanted = this.#actions.of(entry);
    setAttribute(this.#group, 'aria-label', `Actions for ${entry.title}`);
    for (const action of ACTIONS) {
      const isWanted = wanted.includes(action);
      if (!isWanted && !this.#buttons.has(action)) continue;
      const { button, label, name } = this.#buttons.get(action) ?? this.#addButton(action);
      button.hidden = !isWanted;
      if (isWanted) setText(label, labelOf(action, entry));
      setText(name, ` ${entry.title}`);
    }
    this.#group.hidden = wanted.length === 0;
  }

  #addButton(action) {
    const [label, name] = [make('span', ''), make('span', 'visually-hidden')];
    const button = make('button', action === 'delete' || action === 'abort' ? 'quiet-danger' : '', label, name);
    button.type = 'button';
    button.addEventListener('click', () => this.#actions.run(action, this.#entry));
    const before = ACTIONS.slice(ACTIONS.indexOf(action) + 1).map((later) => this.#buttons.get(later)?.button).find(Boolean);
    this.#group.insertBefore(button, before ?? null);
    const made = { button, label, name };
    this.#buttons.set(action, made);
    return made;
  }
}
