// Files from drops and pickers: folders are read completely, and no file is filtered.

const READ_AT_ONCE = 8; // folders
export const UNNAMED = "My pictures"; // a project

/**
 * Return the files of a drop as {files: [{file, path}], archives: [File], unreadable: [path]}.
 *
 * The transfer is emptied when its event ends, so its entries are taken before the first wait.
 */
export function fromTransfer(transfer, found) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const taken = items.map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  return gather(taken, found);
}

/** Return the files of an <input type="file">, and empty it so that the same can be chosen again. */
export function fromPicker(input) {
  const files = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  input.value = "";
  return sorted(files, []);
}

/** Read entries; `found(n)` is called as files are found. */
async function gather(taken, found = () => {}) {
  const files = [];
  const unreadable = [];
  const folders = [];
  for (const { entry, file } of taken) {
    if (entry?.isDirectory) folders.push(entry);
    else if (file) files.push({ file, path: file.name });
  }
  async function readFolders() {
    for (let folder = folders.pop(); folder; folder = folders.pop()) {
      const children = await readAll(folder).catch(() => unreadable.push(pathOf(folder)) && []);
      folders.push(...children.filter((child) => child.isDirectory));
      const read = children.filter((child) => child.isFile).map(async (child) => {
        try {
          const file = await new Promise((resolve, reject) => child.file(resolve, reject));
          files.push({ file, path: pathOf(child) });
        } catch {
          unreadable.push(pathOf(child));
        }
      });
      await Promise.all(read);
      found(files.length);
    }
  }
  while (folders.length) await Promise.all(Array.from({ length: Math.min(READ_AT_ONCE, folders.length) }, readFolders));
  return sorted(files, unreadable);
}

/** Read a folder to its end: Chromium returns max 100 entries per call, and none at the end. */
async function readAll(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

const pathOf = (entry) => entry.fullPath.replace(/^\//, "");

function sorted(all, unreadable) {
  const collator = new Intl.Collator("en", { numeric: true });
  all.sort((a, b) => collator.compare(a.path, b.path));
  const isArchive = ({ file, path }) => !path.includes("/") && /\.zip$/i.test(file.name);
  return { files: all.filter((one) => !isArchive(one)), archives: all.filter(isArchive).map(({ file }) => file), unreadable };
}

/** Return a project's name from a drop: from its folders, or from the archive. */
export function nameFor({ files, archives }) {
  const tops = [...new Set(files.filter(({ path }) => path.includes("/")).map(({ path }) => path.split("/")[0]))];
  if (archives.length && !tops.length) return archives[0].name.replace(/\.zip$/i, "");
  if (!tops.length) return UNNAMED;
  if (tops.length === 1) return tops[0];
  return tops.length === 2 ? `${tops[0]} or ${tops[1]}` : `${tops[0]} and ${tops.length - 1} more`;
}

/** Accept drops anywhere on the page; `show(over)` highlights the target. Returns a function that stops it. */
export function acceptDrops(take, show) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const change = (by) => {
    depth = Math.max(0, depth + by);
    show(depth > 0);
  };
  const listeners = {
    dragenter: (event) => hasFiles(event) && change(1),
    dragleave: (event) => hasFiles(event) && change(-1),
    dragover: (event) => hasFiles(event) && event.preventDefault(),
    drop: (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.taken = true;
      change(-depth);
      take(event.dataTransfer);
    },
  };
  for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
  return () => Object.entries(listeners).forEach(([name, listener]) => removeEventListener(name, listener));
}
