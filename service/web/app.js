// Entry point of the page: connects pickers, queue, cards, table, dialogs and the model's status.

import { UNCERTAIN, answersOf, kindsOf, nameOf, verdict } from "./answers.js";
import { offerCamera } from "./camera.js";
import { Card } from "./card.js";
import { saveCorrections, showCorrections } from "./corrections.js";
import { asCsv, asJson } from "./export.js";
import { acceptDrops, fromPicker, fromTransfer } from "./gather.js";
import { elementsOf } from "./markdown.js";
import { Model, changeSentence } from "./model.js";
import { Queue, mayAskAgain } from "./queue.js";
import { rowsFor } from "./scores.js";
import { fetchDocument, hasKey, settings, useKey } from "./service.js";
import { open, toast } from "./shared/dialog.js";
import { $, button, setText } from "./shared/dom.js";
import { Problem } from "./shared/http.js";
import { shortcuts } from "./shared/keyboard.js";
import { save } from "./shared/save.js";
import { count } from "./shared/words.js";
import { Table } from "./table.js";
import { offerThreshold, servedThreshold, showAnswered } from "./threshold.js";
import { Viewer } from "./viewer.js";

const SLICE_MS = 12; // max work between two frames, so that many pictures do not block the page
const MAX_EXAMPLES = 6;

// On a phone the answers come first.
$("tools").open = !matchMedia("(max-width: 40rem)").matches;

const items = [];
const changed = new Set();
const table = new Table($("table"), (item) => viewer.open(item));
let drawing = 0;
let lost = false;
let remark = ""; // shown beside the count
let undo = null; // takes back the last removal

const model = new Model({
  serving(served) {
    $("cards").style.setProperty("--rows", rowsFor(served.labels));
    $("faces-field").hidden = !model.faces;
    servedThreshold(served.threshold);
    offerExamples(served.examples ?? {});
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

const viewer = new Viewer({
  shown: () => table.sorted(items.filter(fits)),
  model: () => model.current,
  faces: () => queue.faces,
  corrected: () => refresh(items),
});

// --- adding and removing pictures -------------------------------------------------------------

async function take({ files, leftOut }) {
  const fresh = files.map(({ file, path }) => ({ file, path, state: "waiting", truth: null }));
  $("left-out").hidden = !leftOut;
  $("left-out").textContent = `Left out: ${count(leftOut, "file")} in the folder that ${leftOut === 1 ? "is not a picture" : "are not pictures"}.`;
  if (!fresh.length) return;
  items.push(...fresh);
  showWhetherEmpty();
  let begun = performance.now();
  for (const item of fresh) {
    if (item.state === "removed") continue;
    item.card = new Card(item, {
      open: () => viewer.open(item),
      remove: () => remove([item]),
      corrected: () => refresh([item]),
    });
    item.card.update(model.current);
    $("cards").append(item.card.root);
    if (item === fresh[0]) bringIntoView(item.card.root);
    if (performance.now() - begun > SLICE_MS) {
      await new Promise((next) => setTimeout(next));
      begun = performance.now();
    }
  }
  queue.add(fresh.filter((item) => item.state !== "removed"));
}

/** Scroll to the first new picture if less than half of the window would show it. */
function bringIntoView(root) {
  const { top } = root.getBoundingClientRect();
  if (top > innerHeight / 2 || top < 0) (items.length > 1 && top < 0 ? root : $("answers")).scrollIntoView({ block: "start" });
}

/** Show the answers and a small row of buttons, or the large zone to drop pictures on. */
function showWhetherEmpty() {
  $("answers").hidden = !items.length;
  $("drop").classList.toggle("small-zone", items.length > 0);
}

function remove(gone) {
  const places = new Map(gone.map((item) => [item, items.indexOf(item)]));
  queue.remove(gone);
  for (const item of gone) {
    const next = item.card?.root.nextElementSibling ?? item.card?.root.previousElementSibling;
    const focused = item.card?.root.contains(document.activeElement);
    item.card?.root.remove();
    items.splice(items.indexOf(item), 1);
    if (focused) (next?.querySelector(".remove") ?? $("pick")).focus();
  }
  showWhetherEmpty();
  if (!items.length) $("pick").focus();
  refresh();
  const hide = toast(`${gone.length === 1 ? gone[0].path : count(gone.length, "picture")} removed.`, {
    action: "Undo",
    onaction: () => undo?.(),
    onend() {
      undo = null;
      for (const item of gone) item.card?.dispose();
    },
  });
  undo = () => {
    undo = null;
    hide({ taken: true });
    restore(places);
  };
}

/** Put removed items back where they were. */
function restore(places) {
  for (const [item, place] of [...places].sort(([, a], [, b]) => a - b)) {
    const before = items.slice(place).find(({ card }) => card?.root.isConnected);
    items.splice(place, 0, item);
    if (item.card) $("cards").insertBefore(item.card.root, before?.card.root ?? null);
  }
  showWhetherEmpty();
  queue.restore([...places.keys()].filter(({ card }) => card));
  $("answers").focus({ preventScroll: true });
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
  for (const item of changed) item.card?.update(model.current);
  changed.clear();
  const done = items.filter((item) => item.state === "answered" || item.state === "failed");
  const failed = done.filter((item) => item.state === "failed").length;
  $("progress").max = Math.max(1, items.length);
  $("progress").value = done.length;
  $("progress").dataset.done = items.length > 0 && done.length === items.length;
  const parts = [`${done.length.toLocaleString("en")} of ${count(items.length, "picture")}`];
  if (failed) parts.push(`${failed.toLocaleString("en")} without an answer`);
  if (remark) parts.push(remark);
  setText($("count"), parts.join(", "));
  const again = items.filter(mayAskAgain).length;
  $("retry").hidden = !again;
  $("retry").textContent = `Ask again for ${count(again, "picture")}`;
  $("fade-field").classList.toggle("absent", !items.some(({ answer }) => answer && answersOf({ answer }).some(({ activation }) => activation)));
  $("save-csv").disabled = $("save-json").disabled = !done.length;
  offerDecisions();
  showAnswered(items);
  showCorrections(items);
  const shown = items.filter(fits);
  const kept = new Set(shown);
  for (const item of items) if (item.card) item.card.root.hidden = !kept.has(item);
  $("nothing").hidden = shown.length > 0;
  if (!$("table").hidden) table.show(shown);
  viewer.update();
  if (items.length && done.length === items.length) announce(summary(done, failed));
}

function summary(done, failed) {
  if (done.length === 1) return `${done[0].path}: ${verdict(done[0])}`;
  return `${count(done.length - failed, "picture")} answered${failed ? `, ${failed} without an answer` : ""}.`;
}

function fits(item) {
  const wanted = $("filter-decision").value;
  const text = $("filter-text").value.trim().toLowerCase();
  return (!wanted || kindsOf(item).includes(wanted)) && (!text || item.path.toLowerCase().includes(text));
}

function offerDecisions() {
  const select = $("filter-decision");
  const given = new Set(items.flatMap(kindsOf).filter((kind) => kind.startsWith("=") || kind === "failed"));
  if (given.size && !items.some(({ answer }) => answer?.faces)) given.add(`=${UNCERTAIN}`);
  const rank = (kind) => ["failed", "=unfamiliar", `=${UNCERTAIN}`].indexOf(kind);
  const sorted = [...given].sort((a, b) => rank(b) - rank(a) || a.localeCompare(b));
  const classes = sorted.filter((kind) => rank(kind) < 0);
  const wanted = ["", ...classes, ...sorted.filter((kind) => rank(kind) >= 0)];
  if (select.value && !wanted.includes(select.value)) wanted.push(select.value); // what is chosen stays
  if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map((kind) => new Option(kind ? nameOf(kind) : "all", kind, false, kind === chosen)));
}

/** Announce a text to screen readers. */
function announce(text) {
  setText($("live"), text);
}

/** Show a text beside the count, and announce it. */
function note(text) {
  remark = text;
  announce(text);
  refresh();
}

// --- errors -----------------------------------------------------------------------------------

function unreachable(problem) {
  lost = true;
  $("down").hidden = false;
  const waiting = items.some((item) => item.state === "waiting");
  setText($("down-text"), `${problem.message} ${
    waiting ? "Your pictures wait here, and go on when it is back." : "It may be starting, or stopped."
  }`);
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

/** Run what needs an answer of the service; show a problem as one of the page's notices. */
async function asking(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) askForKey(error);
    else unreachable(error);
  }
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
offerCamera({ take: takeOne, faces: () => queue.faces, key: askForKey });

/** Offer a picture per class that the model's publisher released; `examples` has addresses by label. */
function offerExamples(examples) {
  const labels = Object.keys(examples).slice(0, MAX_EXAMPLES);
  $("examples").hidden = !labels.length;
  if ($("examples").dataset.labels === labels.join("\n")) return;
  $("examples").dataset.labels = labels.join("\n");
  const offered = labels.map((label) =>
    button(label, () =>
      asking(async () => {
        const response = await fetchDocument(examples[label].replace(/^\//, ""));
        takeOne(new File([await response.blob()], `example ${label}.jpg`, { type: "image/jpeg" }));
      }),
    ),
  );
  $("examples").replaceChildren($("examples-heading"), ...offered);
}

const opensElsewhere = (event) => event.ctrlKey || event.metaKey || event.shiftKey;

$("report").addEventListener("click", (event) => {
  if (opensElsewhere(event)) return;
  event.preventDefault();
  asking(async () => {
    const response = await fetchDocument("report");
    // Opened as a blob it would inherit this page's policy, which allows no inline styles.
    if (hasKey()) save("report.html", await response.text(), "text/html");
    else location.assign("report");
  });
});
$("open-model-card").addEventListener("click", (event) => {
  if (opensElsewhere(event)) return;
  event.preventDefault();
  asking(async () => {
    const text = await (await fetchDocument("model-card")).text();
    $("model-card-text").replaceChildren(...elementsOf(text));
    $("save-model-card").onclick = () => save("model_card.md", text, "text/markdown");
    open($("model-card"));
    $("model-card-text").scrollTop = 0;
  });
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
offerThreshold(() => refresh(items));
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
$("save-corrections").addEventListener("click", async () => {
  const gone = await saveCorrections(items);
  toast(
    gone.length
      ? `Left out, because the file cannot be read any more: ${gone.join(", ")}`
      : "Saved as corrections.zip. Unpack it over your folders of pictures, and train again.",
  );
});
shortcuts(document, { "Ctrl+z": () => undo?.() }, { when: () => undo !== null });

model.ask();
asking(async () => {
  const { studio } = await settings();
  if (!studio) return;
  for (const link of [$("studio"), $("corrections-studio")]) {
    link.href = studio;
    link.hidden = false;
  }
});
