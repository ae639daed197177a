// Owns the two dialogs: a question, and a link to copy by hand. The browser returns the focus when they close.
// Does not own what they ask.

const element = (id) => document.getElementById(id);

/** Opens the dialog; resolves when it closes, by a button or by Escape. */
function open(dialog, first) {
  dialog.returnValue = '';
  dialog.showModal();
  first.focus();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true }));
}

export class Dialogs {
  #question = element('question');
  #link = element('link');

  constructor() {
    element('question-yes').addEventListener('click', () => this.#question.close('yes'));
    element('question-no').addEventListener('click', () => this.#question.close());
    element('link-close').addEventListener('click', () => this.#link.close());
  }

  /** Whether the answer is yes. */
  async ask({ title, text, yes, no }) {
    element('question-title').textContent = title;
    element('question-text').textContent = text;
    element('question-yes').textContent = yes;
    element('question-no').textContent = no;
    return await open(this.#question, element('question-no')) === 'yes';
  }

  /** Shows a link to copy. */
  async show(link, text) {
    const field = element('link-value');
    element('link-text').textContent = text;
    field.value = link;
    const closed = open(this.#link, field);
    field.select();
    await closed;
    field.value = '';
  }
}
