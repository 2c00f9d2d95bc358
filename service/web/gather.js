// Files from pickers, folders, drops and the clipboard.

const PICTURE = /\.(jpe?g|jfif|png|webp|bmp|gif|tiff?|mpo|heic|heif|avif)$/i;
const MAX_ENTRIES = 10_000;

function looksLikePicture(file) {
  return file.type.startsWith("image/") || PICTURE.test(file.name);
}

/** Return the pictures of a folder, by path, and the number of other files. */
function picturesIn(found) {
  const shown = found.filter(({ path }) => !path.split("/").some((step) => step.startsWith(".")));
  const files = shown.filter(({ file }) => looksLikePicture(file));
  files.sort((a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }));
  return { files, leftOut: shown.length - files.length };
}

export function fromPicker(input) {
  const found = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  input.value = ""; // so that the same file can be chosen again
  return input.webkitdirectory ? picturesIn(found) : { files: found, leftOut: 0 };
}

/** Return the files that were dropped or pasted; folders are read recursively. */
export async function fromTransfer(transfer) {
  // The transfer is emptied when its event ends, so read all of it first.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const taken = items.map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const files = [];
  const inFolders = [];
  for (const { entry, file } of taken) {
    if (entry?.isDirectory) await walk(entry, inFolders);
    else if (file) files.push({ file, path: file.name });
  }
  const folder = picturesIn(inFolders);
  return { files: [...files, ...folder.files], leftOut: folder.leftOut };
}

async function walk(entry, found) {
  if (found.length >= MAX_ENTRIES) return;
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A reader returns entries in parts, and none at its end.
    const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!entries.length) return;
    for (const child of entries) await walk(child, found);
  }
}

/** Accept drops anywhere on the page, and highlight the target. */
export function acceptDrops(target, take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  const show = (change) => {
    depth = Math.max(0, depth + change);
    target.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(-depth);
    take(event.dataTransfer);
  });
}
