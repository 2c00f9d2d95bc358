// Names in a zip file, read from its directory at the end: a few kB, however large the file is.

const END_BYTES = 22; // least size of the end record
const MAX_COMMENT_BYTES = 65_535;
const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;
const ZIP64 = 0xffffffff;

/** Return the names of the files in a zip, or null where the directory cannot be read here. */
export async function namesInZip(file) {
  try {
    const tail = new DataView(await file.slice(Math.max(0, file.size - END_BYTES - MAX_COMMENT_BYTES)).arrayBuffer());
    let at = tail.byteLength - END_BYTES;
    while (at >= 0 && tail.getUint32(at, true) !== END_SIGNATURE) at -= 1;
    if (at < 0) return null;
    const size = tail.getUint32(at + 12, true);
    const start = tail.getUint32(at + 16, true);
    if (start === ZIP64 || size > MAX_DIRECTORY_BYTES) return null; // the studio reads those
    return namesIn(new DataView(await file.slice(start, start + size).arrayBuffer()));
  } catch {
    return null;
  }
}

function namesIn(directory) {
  const decoder = new TextDecoder();
  const names = [];
  for (let at = 0; at + ENTRY_BYTES <= directory.byteLength && directory.getUint32(at, true) === ENTRY_SIGNATURE; ) {
    const length = directory.getUint16(at + 28, true);
    const name = decoder.decode(new Uint8Array(directory.buffer, at + ENTRY_BYTES, length));
    if (!name.endsWith("/")) names.push(name);
    at += ENTRY_BYTES + length + directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true);
  }
  return names;
}
