// Files that the browser makes and saves.

/** Save a blob or a text under a name. */
export function save(name, content, type = "application/octet-stream") {
  // The byte order mark marks UTF-8 for spreadsheets; JSON must not have one.
  const parts = type === "text/csv" ? ["\uFEFF", content] : [content];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Return rows as CSV (RFC 4180). */
export const csv = (rows) => rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

function cell(value) {
  // A spreadsheet would run text that begins with one of these as a formula, but not a sign alone.
  const text = typeof value === "string" && /^[=+\-@\t\r]./s.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
