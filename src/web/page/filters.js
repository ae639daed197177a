// Owns the search and the filter above the list. Does not own what matches; see store.js and older.js.

const element = (id) => document.getElementById(id);

export class Filters {
  #store;
  #older;
  #list;

  constructor(store, older, list) {
    this.#store = store;
    this.#older = older;
    this.#list = list;
    element('search').addEventListener('input', ({ target }) => {
      store.search = target.value;
      if (store.exactName !== null) this.#find(null);
      store.changed();
    });
    element('filters').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = element('search').value.trim();
      if (name) this.#find(name);
    });
    element('filter').addEventListener('change', ({ target }) => {
      store.filter = target.value;
      this.#begin();
    });
    element('leave-exact').addEventListener('click', () => {
      element('search').value = '';
      store.search = '';
      element('search').focus();
      this.#find(null);
    });
  }

  /** Shows all uploads, so that what the user adds is in sight. */
  showAll() {
    const { filter, search, exactName } = this.#store;
    if (filter === 'all' && search === '' && exactName === null) return;
    element('search').value = '';
    element('filter').value = 'all';
    Object.assign(this.#store, { filter: 'all', search: '' });
    this.#find(null);
  }

  /** Shows the uploads with exactly this name; with null, all again. */
  #find(name) {
    this.#store.exactName = name;
    element('exact').hidden = name === null;
    element('exact').querySelector('span').textContent = `Uploads named exactly “${name}”.`;
    this.#begin();
  }

  #begin() {
    this.#list.reset();
    this.#store.changed();
    this.#older.begin();
  }
}
