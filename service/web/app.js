// Entry point of the page: connects pickers, queue, cards, table and the model's status.

import { offerCamera } from "./camera.js";
import { Card, rowsFor } from "./card.js";
import { acceptDrops, fromPicker, fromTransfer } from "./gather.js";
import { Model, changeSentence } from "./model.js";
import { Queue, mayAskAgain } from "./queue.js";
import { asCsv, asJson, save } from "./save.js";
import { Problem, example, hasKey, report, useKey } from "./service.js";
import { Table } from "./table.js";
import { UNCERTAIN, answersOf, count, verdict, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const SLICE_MS = 12; // max work between two frames, so that many pictures do not block the page

const items = [];
const changed = new Set();
const table = new Table($("table"));
let drawing = 0;
let lost = false;
let remark = ""; // shown beside the count

const model = new Model({
  serving({ labels }) {
    $("cards").style.setProperty("--rows", rowsFor(labels));
    $("faces-field").hidden = !model.faces;
    if (lost) reached();
    refresh();
  },
  changed() {
    const older = olderOnes();
    $("changed").hidden = false;
    $("changed-again").hidden = $("changed-close").hidden = !older.length;
    $("changed-text").textContent = changeSentence(older.length);
    refresh(items);
  },
  lost: unreachable,
  key: askForKey,
});

const queue = new Queue({
  changed: refresh,
  answered: (answering) => model.heard(answering),
  flowing() {
    $("down").hidden = true;
    remark = "";
  },
  held(problem, seconds) {
    if (problem.status === 401) askForKey(problem);
    else if (problem.status === 0) unreachable(problem);
    else if (problem.code === "no_model") model.ask();
    else note(`the service is busy, going on in ${count(Math.ceil(seconds), "second")}`);
  },
});

// --- adding pictures --------------------------------------------------------------------------

async function take({ files, leftOut }) {
  const fresh = files.map(({ file, path }) => ({ file, path, state: "waiting" }));
  $("left-out").hidden = !leftOut;
  $("left-out").textContent = `Left out: ${count(leftOut, "file")} in the folder that ${leftOut === 1 ? "is not a picture" : "are not pictures"}.`;
  if (!fresh.length) return;
  const first = !items.length;
  $("answers").hidden = false;
  items.push(...fresh);
  let begun = performance.now();
  for (const item of fresh) {
    if (item.state === "removed") continue;
    item.card = new Card(item, () => remove([item]));
    item.card.update(model.current?.version);
    $("cards").append(item.card.root);
    if (performance.now() - begun > SLICE_MS) {
      await new Promise((next) => setTimeout(next));
      begun = performance.now();
    }
  }
  queue.add(fresh.filter((item) => item.state !== "removed"));
  if (first) $("answers-heading").scrollIntoView({ block: "nearest" });
}

function remove(gone) {
  for (const item of gone) {
    queue.remove(item);
    const next = item.card?.root.nextElementSibling ?? item.card?.root.previousElementSibling;
    const focused = item.card?.root.contains(document.activeElement);
    item.card?.dispose();
    items.splice(items.indexOf(item), 1);
    if (focused) (next?.querySelector(".remove") ?? $("pick")).focus();
  }
  if (!items.length) {
    $("answers").hidden = true;
    $("pick").focus();
  }
  refresh();
}

function askAgain(some) {
  $("changed").hidden = true;
  queue.add(some);
}

const olderOnes = () =>
  items.filter((item) => item.state === "answered" && item.model.version !== model.current?.version);

// --- rendering --------------------------------------------------------------------------------

/** Render at the next frame: only the cards of items that changed. */
function refresh(some = []) {
  for (const item of some) changed.add(item);
  drawing ||= requestAnimationFrame(draw);
}

function draw() {
  drawing = 0;
  for (const item of changed) item.card?.update(model.current?.version);
  changed.clear();
  const done = items.filter((item) => item.state === "answered" || item.state === "failed");
  const failed = done.filter((item) => item.state === "failed").length;
  $("progress").max = Math.max(1, items.length);
  $("progress").value = done.length;
  $("progress").dataset.done = items.length > 0 && done.length === items.length;
  const parts = [`${done.length.toLocaleString("en")} of ${count(items.length, "picture")}`];
  if (failed) parts.push(`${failed.toLocaleString("en")} without an answer`);
  if (remark) parts.push(remark);
  if ($("count").textContent !== parts.join(", ")) $("count").textContent = parts.join(", ");
  const again = items.filter(mayAskAgain).length;
  $("retry").hidden = !again;
  $("retry").textContent = `Ask again for ${count(again, "picture")}`;
  $("fade-field").classList.toggle("absent", !items.some(({ answer }) => answer && answersOf({ answer }).some(({ activation }) => activation)));
  $("save-csv").disabled = $("save-json").disabled = !done.length;
  offerDecisions();
  const shown = items.filter(fits);
  const kept = new Set(shown);
  for (const item of items) if (item.card) item.card.root.hidden = !kept.has(item);
  $("nothing").hidden = shown.length > 0;
  if (!$("table").hidden) table.show(shown);
  if (items.length && done.length === items.length) tell(summary(done, failed));
}

function summary(done, failed) {
  if (done.length === 1) return `${done[0].path}: ${verdict(done[0])}`;
  return `${count(done.length - failed, "picture")} answered${failed ? `, ${failed} without an answer` : ""}.`;
}

/** Return an item's groups for the filter. */
const kinds = (item) =>
  item.state === "answered" ? answersOf(item).map(({ decision }) => `=${decision}`) : [item.state];

function fits(item) {
  const wanted = $("filter-decision").value;
  const text = $("filter-text").value.trim().toLowerCase();
  return (!wanted || kinds(item).includes(wanted)) && (!text || item.path.toLowerCase().includes(text));
}

function offerDecisions() {
  const select = $("filter-decision");
  const given = [...new Set(items.flatMap(kinds))].filter((name) => name.startsWith("=")).sort();
  const failed = items.some((item) => item.state === "failed");
  const wanted = ["", ...given, ...(failed ? ["failed"] : [])];
  if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  const chosen = wanted.includes(select.value) ? select.value : "";
  select.replaceChildren(
    ...wanted.map((value) => {
      const name = value === "failed" ? "no answer" : value === `=${UNCERTAIN}` ? UNCERTAIN : words(value.slice(1));
      return new Option(value ? name : "all", value, false, value === chosen);
    }),
  );
}

/** Announce a text to screen readers. */
function tell(text) {
  if ($("live").textContent !== text) $("live").textContent = text;
}

/** Show a text beside the count, and announce it. */
function note(text) {
  remark = text;
  tell(text);
  refresh();
}

// --- errors -----------------------------------------------------------------------------------

function unreachable(problem) {
  lost = true;
  $("down").hidden = false;
  const waiting = items.some((item) => item.state === "waiting");
  $("down-text").textContent = `${problem.message} ${
    waiting ? "Your pictures wait here, and go on when it is back." : "It may be starting, or stopped."
  }`;
}

function reached() {
  lost = false;
  $("down").hidden = true;
  queue.resume();
}

function askForKey(problem) {
  const again = problem.code === "key_refused" || (hasKey() && $("key").hidden);
  $("key-text").textContent = again
    ? "The key was not accepted. Check it, or ask the operator of the service for one."
    : "Enter the key that the operator of the service gave you.";
  if (!$("key").hidden) return;
  $("key").hidden = false;
  $("key-input").value = "";
  $("key-input").focus();
}

// --- controls ---------------------------------------------------------------------------------

for (const input of [$("pick"), $("pick-folder"), $("capture")]) {
  input.addEventListener("change", () => take(fromPicker(input)));
}
acceptDrops($("drop"), async (transfer) => take(await fromTransfer(transfer)));
addEventListener("paste", async (event) => {
  if (![...event.clipboardData.items].some((item) => item.kind === "file")) return;
  event.preventDefault();
  take(await fromTransfer(event.clipboardData));
});
const takeOne = (file) => take({ files: [{ file, path: file.name }], leftOut: 0 });
offerCamera(takeOne);
$("example").addEventListener("click", async () => {
  try {
    takeOne(await example());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    unreachable(error);
  }
});

$("report").addEventListener("click", async (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const response = await report();
    // Opened as a blob it would inherit this page's policy, which allows no inline styles.
    if (hasKey()) save("report.html", await response.text(), "text/html");
    else location.assign("report");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) askForKey(error);
    else unreachable(error);
  }
});
$("clear").addEventListener("click", () => remove([...items]));
$("retry").addEventListener("click", () => askAgain(items.filter(mayAskAgain)));
$("changed-again").addEventListener("click", () => askAgain(olderOnes()));
$("changed-close").addEventListener("click", () => ($("changed").hidden = true));
$("down-retry").addEventListener("click", () => {
  queue.resume();
  model.ask();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key-input").value.trim());
  $("key").hidden = true;
  $("answers").focus({ preventScroll: true });
  queue.resume();
  model.ask();
});
$("faces").addEventListener("change", () => {
  queue.faces = $("faces").checked;
  askAgain(items.filter((item) => item.state === "answered" || mayAskAgain(item)));
});
$("filter-decision").addEventListener("change", () => refresh());
$("filter-text").addEventListener("input", () => refresh());
for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", () => {
    $("table").hidden = radio.value !== "table";
    $("cards").hidden = radio.value !== "cards";
    refresh();
  });
}
$("fade").addEventListener("input", () => {
  $("cards").style.setProperty("--fade", $("fade").value / 100);
});
const savable = () => table.sorted(items.filter((item) => fits(item) && (item.answer || item.problem)));
$("save-csv").addEventListener("click", () => save("answers.csv", asCsv(savable()), "text/csv"));
$("save-json").addEventListener("click", () => save("answers.json", asJson(savable()), "application/json"));

model.ask();
