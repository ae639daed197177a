// Owns how files come to the page: drag and drop of files and folders, and the two buttons.
// Does not own what happens to them; see uploads.js.

/** While files are dragged over the page, browsers send `dragover` several times a second. */
const DRAG_TIMEOUT = 1000;
const element = (id) => document.getElementById(id);

/** The files in an entry of the browser's file system, with their paths, folders within folders too. */
async function* filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    yield { file, path: pathOf(entry.fullPath) };
    return;
  }
  const reader = entry.createReader();
  // A reader returns some entries at a time, and none at the end.
  for (let batch; (batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length > 0;) {
    for (const inner of batch) yield* filesIn(inner);
  }
}

/** The path, if the file is in a folder. */
function pathOf(path) {
  const relative = path.replace(/^\//, '');
  return relative.includes('/') ? relative : '';
}

/** Asks for one file. Resolves to null if there is none. */
export function chooseFile() {
  const input = element('file-to-continue');
  input.value = '';
  input.click();
  return new Promise((resolve) => {
    const end = () => {
      input.removeEventListener('change', end);
      input.removeEventListener('cancel', end);
      resolve(input.files[0] ?? null);
    };
    input.addEventListener('change', end);
    input.addEventListener('cancel', end);
  });
}

/** Calls `add` with each chosen or dropped file and its path in the folder, and `fail` with what cannot be read. */
export function acceptFiles({ add, fail, isActive }) {
  for (const [button, id] of [['choose-files', 'files'], ['choose-folder', 'folder']]) {
    const input = element(id);
    element(button).addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      for (const file of input.files) add(file, pathOf(file.webkitRelativePath));
      if (input.files.length === 0) fail('There are no files in this folder.');
      input.value = '';
    });
  }
  // Phones have no folders to choose.
  element('choose-folder').hidden = !('webkitdirectory' in HTMLInputElement.prototype);

  const overlay = element('drop');
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  let timer;
  const hide = () => { overlay.hidden = true; };
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    // Otherwise the browser leaves the page and opens the file, also where the page takes none.
    event.preventDefault();
    if (!isActive()) return;
    overlay.hidden = false;
    // A drag that ends by Escape or outside the window may send no event.
    clearTimeout(timer);
    timer = setTimeout(hide, DRAG_TIMEOUT);
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) hide(); });
  addEventListener('drop', (event) => {
    hide();
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!isActive()) return;
    // The transfer is empty after this event, so all entries are taken now.
    const dropped = [...event.dataTransfer.items].filter(({ kind }) => kind === 'file')
      .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
    for (const item of dropped) take(item, add, fail);
  });
}

async function take(item, add, fail) {
  if (item instanceof File) return add(item, '');
  let count = 0;
  try {
    for await (const { file, path } of filesIn(item)) {
      add(file, path);
      count += 1;
    }
    if (count === 0) fail(`${item.name}: there are no files in this folder.`);
  } catch (error) {
    fail(`${item.name} cannot be read: ${error.message}`);
  }
}
