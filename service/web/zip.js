// Writes zip archives without compression (APPNOTE 6.3.10), because pictures are compressed already.

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const UTF8_NAMES = 0x0800;
const MIDNIGHT_1980 = 0x00210000; // DOS date and time: the same files give the same archive
const MAX = 0xffffffff; // beyond, an archive would need Zip64

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * Return an archive of files, each { name, blob }, as a blob, and the names of those that can no
 * longer be read. The blobs stay where they are: only one is in memory at a time.
 */
export async function zip(files) {
  const parts = [];
  const directory = [];
  const gone = [];
  let offset = 0;
  for (const { name, blob } of files) {
    let sum;
    try {
      sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    } catch {
      gone.push(name);
      continue;
    }
    const encoded = new TextEncoder().encode(name);
    const facts = [VERSION, UTF8_NAMES, 0];
    const sizes = [MIDNIGHT_1980, sum, blob.size, blob.size];
    const header = [...fields([LOCAL], facts, sizes, [encoded.length, 0])];
    directory.push(...fields([CENTRAL], [VERSION, ...facts], sizes, [encoded.length, 0, 0, 0, 0], [0, offset]), encoded);
    parts.push(...header, encoded, blob);
    offset += lengthOf(header) + encoded.length + blob.size;
  }
  const size = lengthOf(directory);
  if (offset + size > MAX) throw new RangeError("The pictures are more than 4 GB.");
  const number = files.length - gone.length;
  const end = fields([END], [0, 0, number, number], [size, offset], [0]);
  return { archive: new Blob([...parts, ...directory, ...end], { type: "application/zip" }), gone };
}

/** Return lists of numbers as bytes: in turns, numbers of 32 and of 16 bits. */
function fields(...lists) {
  return lists.map((list, turn) => (turn % 2 ? new Uint16Array(list) : new Uint32Array(list)));
}

const lengthOf = (parts) => parts.reduce((sum, part) => sum + part.byteLength, 0);

function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
