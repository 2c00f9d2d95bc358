// What a picture really is, by the reader: kept in this page, saved as folders to train on.

import { UNCERTAIN, UNFAMILIAR, decisionOf } from "./answers.js";
import { $, element, setText } from "./shared/dom.js";
import { csv, save } from "./shared/save.js";
import { count } from "./shared/words.js";
import { zip } from "./zip.js";

export const NEITHER = "\0neither"; // no label can be this
const NEITHER_FOLDER = ".neither"; // training skips hidden folders, and reports them

const README = `Pictures as they were judged on the page of the service.

Each folder is a class. Add its files to the folder of the same name of your pictures, and train again:

    python -m training fit pictures

The hidden folder ${NEITHER_FOLDER} has the pictures that are of no class: training leaves it out.
corrections.csv lists each picture with the answer it got.
`;

/** Return a field for a picture's true class, and its function `update(labels)`. */
export function truthField(item, changed) {
  const select = element("select", { "aria-label": `What ${item.path} really is` });
  const root = element("label", { class: "truth" }, element("span", { text: "Is really" }), select);
  select.addEventListener("change", () => {
    item.truth = select.value || null;
    changed();
  });
  const update = (labels) => {
    const wanted = ["", ...labels, NEITHER];
    if (item.truth && !wanted.includes(item.truth)) wanted.splice(-1, 0, item.truth); // of an older model
    if (wanted.join("\n") !== [...select.options].map(({ value }) => value).join("\n")) {
      const names = { "": "not checked", [NEITHER]: labels.length === 2 ? "neither" : "none of them" };
      select.replaceChildren(...wanted.map((value) => new Option(names[value] ?? value, value)));
    }
    select.value = item.truth ?? "";
    root.dataset.truth = verdictOf(item);
    root.classList.toggle("absent", item.state !== "answered" || Boolean(item.answer.faces));
  };
  return { root, update };
}

/** Return "" for a picture that was not checked, else "right", "wrong", or "open" if it got no class. */
export function verdictOf({ truth, answer }) {
  if (!truth || !answer || answer.faces) return "";
  const decision = decisionOf(answer);
  if (truth === decision || (truth === NEITHER && decision === UNFAMILIAR)) return "right";
  return [UNCERTAIN, UNFAMILIAR].includes(decision) ? "open" : "wrong";
}

/** Return the name of a judgement for readers: a class, "neither" or "". */
export const truthName = ({ truth }) => (truth === NEITHER ? "neither" : truth ?? "");

/** Return a judgement as labels.csv has it: a class, "-" for none of them, or "". */
export const truthLabel = ({ truth }) => (truth === NEITHER ? "-" : truth ?? "");

const judged = (items) => items.filter((item) => item.truth && item.answer && !item.answer.faces);

/** Show how many pictures were judged, how many answers were wrong, and how many gave no class. */
export function showCorrections(items) {
  const found = judged(items);
  $("corrections").hidden = !found.length;
  if (!found.length) return;
  const number = (verdict) => found.filter((item) => verdictOf(item) === verdict).length;
  const rest = number("open") ? `, ${number("open")} without a class` : "";
  setText($("corrections-text"), `${count(found.length, "picture")} checked, ${number("wrong")} answered wrongly${rest}.`);
}

/** Save the judged pictures as a zip of a folder per class. */
export async function saveCorrections(items) {
  const found = judged(items);
  const taken = new Set();
  const rows = [["file", "label", "decision", "likeliest", "score", "model"]];
  const files = [];
  for (const item of found) {
    const name = freeName(folderOf(item.truth), item.path, taken);
    files.push({ name, blob: item.file });
    rows.push([name, truthLabel(item), decisionOf(item.answer), item.answer.label, item.answer.score, item.model.version]);
  }
  files.push({ name: "corrections.csv", blob: new Blob(["\uFEFF", csv(rows)]) }, { name: "README.txt", blob: new Blob([README]) });
  const { archive, gone } = await zip(files);
  save("corrections.zip", archive);
  return gone;
}

const folderOf = (truth) => (truth === NEITHER ? NEITHER_FOLDER : truth);

/** Return a path in the archive: a picture of that name from another folder gets a number. */
function freeName(folder, path, taken) {
  const base = path.split("/").pop().replaceAll(/[\\:*?"<>|\0-\x1f]/g, "_") || "picture";
  const [, stem, suffix] = base.match(/^(.+?)(\.[^.]*)?$/s);
  for (let number = 1; ; number += 1) {
    const name = `${folder}/${stem}${number > 1 ? ` (${number})` : ""}${suffix ?? ""}`;
    if (taken.has(name.toLowerCase())) continue;
    taken.add(name.toLowerCase());
    return name;
  }
}
