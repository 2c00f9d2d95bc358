// Dialogs of the labels: one picture in large view, new class, groups, list of changes, keys; and conflicts.

import { html, useEffect, useRef, useState } from "./htm-preact.js";
import { get, post, thumbnail } from "./api.js";
import { MAX_DIGIT, keys } from "./label-actions.js";
import { addClass, hasLabelIssue } from "./labelling.js";
import { newId } from "./outbox.js";
import { open } from "./shared/dialog.js";
import { shortcuts } from "./shared/keyboard.js";
import { fail, limits, refresh, useStore } from "./store.js";
import { FINDINGS, LEFT_OUT, count, isolated, labelName, listed, number, percent, when } from "./words.js";

const LARGE_PX = 640;
const CONFLICTS_SHOWN = 5;
const ACTS_SHOWN = 100;

/** A modal dialog that is open as long as it is rendered. */
function Dialog({ title, close, children, kind = "" }) {
  const dialog = useRef(null);
  useEffect(() => {
    let gone = false;
    open(dialog.current).then(() => gone || close());
    return () => {
      gone = true;
      dialog.current?.close();
    };
  }, []);
  return html`<dialog ref=${dialog} class=${kind} aria-labelledby="dialog-heading">
    <div class="bar"><h2 id="dialog-heading" class="grow">${title}</h2><button type="button" class="plain" data-close aria-label="Close">×</button></div>
    ${children}
  </dialog>`;
}

/** A button that gives pictures a class; the first nine have a key. */
export function ClassButton({ name, index, on, choose, disabled = false }) {
  return html`<button type="button" disabled=${disabled} class=${on ? "is" : ""} onClick=${choose} title=${labelName(name)}>
    ${index < MAX_DIGIT && html`<kbd aria-hidden="true">${index + 1}</kbd>`} <span class="class-name">${labelName(name)}</span>
  </button>`;
}

/** The large view of one picture, with its details and the same keys as the grid. */
export function Viewer({ project, grid, labelling, actions, close }) {
  useStore();
  const id = grid.ids[grid.active];
  const picture = labelling.pictures.get(id);
  useEffect(() => {
    labelling.load([id]).catch(fail);
    const map = { ...keys(actions, project), ArrowUp: () => actions.move(-1), ArrowDown: () => actions.move(1), Escape: close, o: close, "?": () => {}, n: () => {}, g: () => {} };
    return shortcuts(document, map, { when: (event) => !event.target.closest("button") || /^[0-9xu]$|^Arrow/.test(event.key) });
  });
  const findings = picture?.findings ?? [];
  return html`<${Dialog} title=${picture ? labelName(picture.label) : "…"} close=${close} kind="viewer">
    <div class="viewer-picture" tabindex="-1" autofocus>${picture && html`<img src=${thumbnail(picture.sha256, LARGE_PX)} alt=${`Picture ${picture.name}, labelled ${labelName(picture.label)}`} />`}</div>
    <p class="small figures viewer-name">${number(grid.active + 1)} of ${number(grid.ids.length)}: <bdi>${picture?.name}</bdi> ${picture?.width ? `(${picture.width} × ${picture.height})` : ""} ${picture?.group ? `, group ${isolated(picture.group)}` : ""}</p>
    ${hasLabelIssue(picture) && html`<p>Its label may be wrong. What do you see? (The model’s answer is shown after you have chosen.)</p>`}
    ${findings.map(({ kind, message }) => html`<p class="small">${message || FINDINGS.find((one) => one.kind === kind)?.title}</p>`)}
    ${picture?.judged && picture.suggestion && html`<p>The model’s answer: <b>${labelName(picture.suggestion.label)}</b>${picture.suggestion.score ? ` (${percent(picture.suggestion.score)} sure)` : ""}.</p>`}
    <div class="buttons choices-of-class">
      ${project.classes.map(({ name }, index) => html`<${ClassButton} key=${name} name=${name} index=${index} on=${picture?.label === name} choose=${() => actions.decide(name)} />`)}
      <button type="button" class=${picture?.label === LEFT_OUT ? "is" : ""} onClick=${actions.leaveOut}><kbd aria-hidden="true">x</kbd> Leave out</button>
    </div>
    <div class="buttons">
      <button type="button" onClick=${() => actions.move(-1)} disabled=${grid.active <= 0}>← Before</button>
      <button type="button" onClick=${actions.confirm}><kbd aria-hidden="true">↵</kbd> Label is right</button>
      <button type="button" onClick=${actions.undo}><kbd aria-hidden="true">u</kbd> Undo</button>
      <button type="button" onClick=${() => actions.move(1)} disabled=${grid.active >= grid.ids.length - 1}>Next →</button>
    </div>
  <//>`;
}

export function NewClassDialog({ project, close, made, n }) {
  const [error, setError] = useState("");
  const create = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    try {
      if (!project.classes.some((one) => one.name === name)) await addClass(project.id, name);
      await refresh();
      close();
      if (n) made(name);
    } catch (problem) {
      setError(problem.message);
    }
  };
  return html`<${Dialog} title="New class" close=${close}>
    <form onSubmit=${create}>
      <p><label for="class-name">A new class, in one or two words</label></p>
      <p><input id="class-name" name="name" type="text" required maxlength=${limits().name_chars} autocomplete="off" autofocus /></p>
      ${error && html`<p class="bad" role="alert">${error}</p>`}
      <div class="buttons end">
        <button type="button" data-close>Cancel</button>
        <button type="submit" class="primary">${n ? `Make the class, and put ${count(n, "picture")} in it` : "Make the class"}</button>
      </div>
    </form>
  <//>`;
}

const PATTERNS = [
  { title: "what is before the first _", pattern: "^(?:.*/)?([^_/]+)_" },
  { title: "what is before the first -", pattern: "^(?:.*/)?([^-/]+)-" },
  { title: "the digits at the start", pattern: "^(?:.*/)?([0-9]+)" },
];

/** Groups: pictures of the same person or object are kept together when the model is tested. */
export function GroupDialog({ project, targets, labelling, close }) {
  const [pattern, setPattern] = useState(PATTERNS[0].pattern);
  const [preview, setPreview] = useState(null);
  const [message, setMessage] = useState("");
  const address = `/api/projects/${project.id}/groups`;
  const send = async (body, done) => {
    try {
      const answer = await post(address, body);
      setMessage("");
      await done(answer);
    } catch (error) {
      setPreview(null);
      setMessage(error.message);
    }
  };
  const finished = async () => {
    await labelling.reload([...labelling.pictures.keys()]).catch(fail);
    refresh();
    close();
  };
  const byHand = (event) => {
    event.preventDefault();
    const group = new FormData(event.target).get("group").trim();
    send({ pictures: targets, group: group || null, act: newId() }, finished);
  };
  const groups = preview?.groups ?? [];
  return html`<${Dialog} title="Groups: the same person or thing" close=${close}>
    <p>Pictures of one person look alike. Put them into one group: then the model is never tested on a person that it was trained on, and its figures are not too high.</p>
    ${targets.length > 0 &&
    html`<form class="bar" onSubmit=${byHand}>
      <label class="field grow">${count(targets.length, "chosen picture")}: group <input name="group" type="text" maxlength=${limits().name_chars} /></label>
      <button type="submit">Set</button>
    </form>`}
    <h3>By the files’ names</h3>
    <p class="bar">
      <label class="field">The group is
        <select onChange=${({ target }) => (setPattern(target.value), setPreview(null))}>
          ${PATTERNS.map((one) => html`<option value=${one.pattern}>${one.title}</option>`)}
        </select>
      </label>
      <label class="field grow">as a pattern <input type="text" value=${pattern} spellcheck="false" onInput=${({ target }) => (setPattern(target.value), setPreview(null))} /></label>
      <button type="button" onClick=${() => send({ pattern, preview: true }, setPreview)}>Preview the groups</button>
    </p>
    ${message && html`<p class="bad" role="alert">${message}</p>`}
    ${preview &&
    html`<p role="status">
      ${groups.length
        ? `${count(groups.length, "group")}: ${listed(groups.map(({ group, count: n, pictures }) => `${group} (${n ?? pictures.length})`), 8)}.`
        : "No name fits the pattern."}
      ${preview.unmatched ? ` ${count(preview.unmatched, "picture does", "pictures do")} not fit.` : ""}
    </p>`}
    <div class="buttons end">
      <button type="button" data-close>Close</button>
      <button type="button" class="primary" disabled=${!groups.length} onClick=${() => send({ pattern, act: newId() }, finished)}>Make these groups</button>
    </div>
  <//>`;
}

/** All changes, newest first; each can be undone. */
export function HistoryDialog({ project, labelling, reload, close }) {
  const [acts, setActs] = useState(null);
  const load = () => get(`/api/projects/${project.id}/acts`, { query: { limit: ACTS_SHOWN } }).then((answer) => setActs(answer.acts), fail);
  useEffect(() => void load(), []);
  const undo = async (act) => {
    try {
      await post(`/api/projects/${project.id}/undo`, { act, id: newId() });
      labelling.done = labelling.done.filter(({ id }) => id !== act);
      labelling.pictures.clear();
      await Promise.all([load(), reload(), refresh()]);
    } catch (error) {
      close();
      fail(error);
    }
  };
  return html`<${Dialog} title="Changes" close=${close} kind="history">
    <p class="small">Nothing is ever lost: each change can be undone here, and an undo can be undone, too.</p>
    <ul class="acts">
      ${(acts ?? []).map(
        (act) => html`<li key=${act.act} class=${act.undone ? "undone" : ""}>
          <span>${act.summary ?? `${act.kind}: ${count(act.pictures, "picture")}`}</span>
          <span class="small">${when(act.at)}${act.by ? `, ${act.by}` : ""}${act.undone ? ", undone" : ""}</span>
          ${!act.undone && html`<button type="button" class="plain link" onClick=${() => undo(act.act)} aria-label=${`Undo: ${act.summary ?? act.kind}`}>Undo</button>`}
        </li>`,
      )}
    </ul>
    ${acts?.length === 0 && html`<p>No change yet.</p>`}
  <//>`;
}

export function HelpDialog({ project, close }) {
  const rows = [
    ["← → ↑ ↓", "go from picture to picture"],
    ["Shift + arrow", "choose several, also with Shift and a click"],
    ["Space", "choose one more, also with Ctrl and a click"],
    ["Ctrl + A", "choose all that are shown"],
    ...project.classes.slice(0, MAX_DIGIT).map(({ name }, index) => [`${index + 1}`, `it shows “${labelName(name)}”`]),
    ["Enter", "the label is right"],
    ["x", "leave it out of the training"],
    ["0", "take the label away"],
    ["n", "a new class"],
    ["g", "groups: the same person or thing"],
    ["o", "look closer, also with a double click"],
    ["u", "undo, as often as you like; Shift + U does it again"],
  ];
  return html`<${Dialog} title="Keys" close=${close}>
    <dl class="facts keys">${rows.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
  <//>`;
}

/** Conflicts with decisions of other people, to settle one by one. */
export function Conflicts({ labelling }) {
  const { conflicts } = labelling;
  if (!conflicts.length) return null;
  const all = (mine) => () => [...conflicts].forEach((conflict) => labelling.settle(conflict, mine && !conflict.undo));
  return html`<section class="notice warn conflicts" role="alert" aria-label="Conflicts">
    <h2>${count(conflicts.length, "picture")} that somebody else changed at the same time</h2>
    <ul>
      ${conflicts.slice(0, CONFLICTS_SHOWN).map(
        (conflict) => html`<li key=${conflict.picture}>
          <span><b>${conflict.name}</b>: ${conflict.by ?? "somebody"} chose “${labelName(conflict.theirs)}”${conflict.at ? ` (${when(conflict.at)})` : ""}${conflict.undo ? "; your undo was not done" : `, you “${labelName(conflict.mine)}”`}.</span>
          <button type="button" onClick=${() => labelling.settle(conflict, false)}>Keep “${labelName(conflict.theirs)}”</button>
          ${!conflict.undo && html`<button type="button" onClick=${() => labelling.settle(conflict, true)}>Set “${labelName(conflict.mine)}”</button>`}
        </li>`,
      )}
    </ul>
    ${conflicts.length > 1 && html`<div class="buttons start"><button type="button" onClick=${all(false)}>Keep theirs for all</button><button type="button" onClick=${all(true)}>Set mine for all</button></div>`}
  </section>`;
}
