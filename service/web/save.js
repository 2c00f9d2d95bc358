// Answers as files to download.

const SIDES = ["left", "top", "width", "height"]; // a face's box, in pixels of the picture

/** Return the answers as JSON, as the service sent them. */
export function asJson(items) {
  const entries = items.map(({ path, model, answer, problem }) => {
    const { index, filename, activation, ...kept } = answer ?? {};
    if (kept.faces) kept.faces = kept.faces.map(({ activation: map, ...face }) => face);
    return { file: path, model: model?.version ?? null, ...kept, ...(problem && { error: problem }) };
  });
  return JSON.stringify(entries, null, 1);
}

/** Return the answers as CSV (RFC 4180): a row per picture or face, a column per class. */
export function asCsv(items) {
  const lines = items.flatMap((item) =>
    item.answer?.faces?.length ? item.answer.faces.map((answer) => ({ ...item, answer })) : [item],
  );
  const faces = items.some((item) => item.answer?.faces);
  const labels = [...new Set(lines.flatMap((line) => Object.keys(line.answer?.scores ?? {})))];
  const rows = lines.map(({ path, model, answer, problem }) => [
    path,
    ...(faces ? SIDES.map((side) => answer?.box?.[side] ?? "") : []),
    answer?.decision ?? "",
    answer?.label ?? "",
    answer?.score ?? "",
    answer?.familiar ?? "",
    ...labels.map((label) => answer?.scores?.[label] ?? ""),
    model?.version ?? "",
    answer?.faces ? "No face was found." : problem?.detail ?? "",
  ]);
  const head = ["file", ...(faces ? SIDES : []), "decision", "label", "score", "familiar", ...labels.map((l) => `score ${l}`), "model", "error"];
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  // A spreadsheet would run text that begins with one of these as a formula.
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function save(name, text, type) {
  // The byte order mark marks UTF-8 for spreadsheets; JSON must not have one.
  const blob = new Blob(type === "text/csv" ? ["\uFEFF", text] : [text], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
