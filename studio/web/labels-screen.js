// Screen 2, labels: look through the pictures, and correct wrong labels.

import { html, useEffect, useRef, useState } from "./htm-preact.js";
import { Problem } from "./api.js";
import { Grid } from "./grid.js";
import { acting, keys } from "./label-actions.js";
import { Labelling, indexOf } from "./labelling.js";
import { ClassButton, Conflicts, GroupDialog, HelpDialog, HistoryDialog, NewClassDialog, Viewer } from "./label-dialogs.js";
import { outbox } from "./outbox.js";
import { shortcuts } from "./shared/keyboard.js";
import { fail, go, href, refresh, state, update, useStore } from "./store.js";
import { FINDINGS, count, labelName, number } from "./words.js";

const LONG = 24; // characters of a class name that may be cut off

export function LabelsScreen() {
  const { project, route } = useStore();
  const host = useRef(null);
  const me = useRef(null); // {grid, labelling}: live as long as the screen
  const [, render] = useState(0);
  const [dialog, setDialog] = useState(null);
  const [total, setTotal] = useState(null);
  const [autoAdvance, setAutoAdvance] = useState(true);
  const { query } = route;
  const filter = { label: query.get("label"), filter: query.get("filter"), order: query.get("order") ?? "label_issues" };
  const again = () => render((n) => n + 1);

  useEffect(() => {
    const labelling = new Labelling(project.id, (ids, loaded = false) => {
      me.current?.grid.refresh(ids);
      if (state.unsaved && !outbox.unsaved) refresh(); // the counts
      if (state.unsaved !== outbox.unsaved) update({ unsaved: outbox.unsaved });
      // Scrolling loads pictures all the time; the rest of the screen shows only those acted on.
      if (!loaded || me.current?.grid.targets.some((id) => ids.includes(id))) again();
    });
    const grid = new Grid(host.current, {
      picture: (id) => labelling.pictures.get(id),
      need: (ids) => labelling.load(ids).catch(ignoreLoss),
      chosen: again,
      open: () => setDialog({ kind: "viewer" }),
    });
    me.current = { grid, labelling };
    grid.root.focus({ preventScroll: true });
    return () => {
      grid.destroy();
      labelling.stop();
      me.current = null;
    };
  }, [project.id]);

  const load = async () => {
    try {
      await outbox.ready;
      const ids = await indexOf(project.id, filter);
      if (!me.current) return;
      me.current.grid.show(ids);
      // Keys decide about pictures; on the chip that was clicked they would do nothing.
      if (document.activeElement?.closest(".chips")) me.current.grid.root.focus({ preventScroll: true });
      if (query.has("picture")) me.current.grid.find(Number(query.get("picture")));
      setTotal(ids.length);
    } catch (error) {
      fail(error);
    }
  };
  useEffect(() => void load(), [project.id, filter.label, filter.filter, filter.order, query.get("picture")]);
  // An upload that is going on adds pictures: shown while the person is idle.
  useEffect(() => {
    if (total !== null && me.current && !me.current.labelling.done.length && me.current.grid.active <= 0) load();
  }, [project.counts.pictures]);

  const actions = me.current && acting(me.current, { project, autoAdvance, setDialog, again });
  useEffect(() => {
    if (!actions) return undefined;
    return shortcuts(document, keys(actions, project), { when: (event) => !document.querySelector("dialog[open]") && !event.target.closest("a, summary, button, .chips") });
  });

  const labelling = me.current?.labelling;
  const grid = me.current?.grid;
  const targets = grid?.targets ?? [];
  const title = titleOf(filter);
  const now = numberOf(filter, project);
  return html`
    <${Filters} project=${project} filter=${filter} />
    ${labelling && html`<${Conflicts} labelling=${labelling} />`}
    <div class="bar labels-bar">
      <p class="grow"><b>${title}</b> <span class="figures muted">${total === null ? "…" : count(total, "picture")}${now !== null && now < total ? ` listed, ${number(now)} left` : ""}</span></p>
      <${SaveState} labelling=${labelling} />
      <label class="field">Order
        <select value=${filter.order} onChange=${({ target }) => go(addressOf({ ...filter, order: target.value }), { replace: true })}>
          <option value="label_issues">label issues first</option>
          <option value="name">by name</option>
          <option value="added">newest first</option>
        </select>
      </label>
      <label class="check small"><input type="checkbox" checked=${autoAdvance} onChange=${({ target }) => setAutoAdvance(target.checked)} /> go to the next picture</label>
      <button type="button" onClick=${() => setDialog({ kind: "group" })}>Groups</button>
      <button type="button" onClick=${() => setDialog({ kind: "history" })}>Changes</button>
      <button type="button" class="help" aria-label="Keys, help" onClick=${() => setDialog({ kind: "help" })}>?</button>
    </div>
    <p id="grid-help" class="hidden">Arrow keys move, a digit chooses the label, Enter confirms the label, x leaves the picture out, u undoes, question mark lists all keys.</p>
    ${total === 0 && html`<${Nothing} filter=${filter} project=${project} />`}
    <div class="grid-host" ref=${host} hidden=${total === 0}></div>
    ${actions && total !== 0 && html`<${ActionBar} project=${project} targets=${targets} labelling=${labelling} actions=${actions} grid=${grid} />`}
    ${dialog?.kind === "viewer" && html`<${Viewer} project=${project} grid=${grid} labelling=${labelling} actions=${actions} close=${() => setDialog(null)} />`}
    ${dialog?.kind === "help" && html`<${HelpDialog} project=${project} close=${() => setDialog(null)} />`}
    ${dialog?.kind === "class" && html`<${NewClassDialog} project=${project} close=${() => setDialog(null)} made=${(name) => actions.decide(name)} n=${targets.length} />`}
    ${dialog?.kind === "group" && html`<${GroupDialog} project=${project} targets=${grid.chosen.size ? targets : []} labelling=${labelling} close=${() => setDialog(null)} />`}
    ${dialog?.kind === "history" && html`<${HistoryDialog} project=${project} labelling=${labelling} reload=${load} close=${() => setDialog(null)} />`}
  `;
}

/** While the studio does not answer, the frame shows that; the grid asks again when it is scrolled. */
function ignoreLoss(error) {
  if (!(error instanceof Problem)) throw error;
}

const addressOf = ({ label, filter, order }) => {
  const pairs = Object.entries({ label, filter, order: order === "label_issues" ? null : order }).filter(([, value]) => value !== null && value !== undefined);
  return href("labels") + (pairs.length ? `?${new URLSearchParams(pairs)}` : "");
};

function titleOf({ label, filter }) {
  const finding = FINDINGS.find(({ kind }) => kind === filter)?.title ?? { unlabelled: "No label yet", left_out: "Left out", test: "Kept for checking" }[filter];
  if (label !== null && finding) return `“${labelName(label)}”: ${finding}`;
  if (label !== null) return `All of “${labelName(label)}”: click each that is something else`;
  return finding ?? "All pictures";
}

/** Number of pictures that a filter applies to by now, as its chip has it; null if it has no chip. */
function numberOf({ label, filter }, { counts, classes }) {
  if (label !== null && filter) return null;
  if (label !== null) return classes.find(({ name }) => name === label)?.pictures ?? null;
  return (filter ? (counts.findings?.[filter] ?? counts[filter]) : counts.pictures) ?? 0;
}

// --- parts ----------------------------------------------------------------------------------------------

function Filters({ project, filter }) {
  const { counts, classes } = project;
  const chip = (title, n, query, extra = "") => {
    const on = (query.label ?? null) === filter.label && (query.filter ?? null) === filter.filter;
    return html`<li><a class=${`chip ${extra}`} href=${addressOf({ label: null, filter: null, ...query, order: filter.order })} aria-current=${on ? "true" : null} title=${title.length > LONG ? title : null}><span class="chip-name">${title}</span> <span class="figures">${number(n)}</span></a></li>`;
  };
  const findings = FINDINGS.filter(({ kind }) => counts.findings?.[kind]);
  const bar = useRef(null);
  useEffect(() => {
    const list = bar.current?.querySelector("ul");
    const on = bar.current?.querySelector("[aria-current]");
    if (on) list.scrollLeft = on.offsetLeft - list.offsetLeft - 16;
  }, [filter.label, filter.filter]);
  return html`<nav ref=${bar} class="chips" aria-label="Which pictures">
    <ul>
      ${chip("All", counts.pictures, {})}
      ${classes.map(({ name, pictures }) => chip(labelName(name), pictures, { label: name }))}
      ${counts.unlabelled > 0 && chip("no label yet", counts.unlabelled, { filter: "unlabelled" })}
      ${counts.left_out > 0 && chip("left out", counts.left_out, { filter: "left_out" })}
      ${counts.test > 0 && chip("kept for checking", counts.test, { filter: "test" })}
      ${findings.map(({ kind, title }) => chip(title, counts.findings[kind], { filter: kind }, "finding"))}
    </ul>
  </nav>`;
}

function SaveState({ labelling }) {
  const { unsaved, problem, durable } = outbox;
  if (labelling?.refusal) return html`<p class="save bad" role="alert">Not saved: ${labelling.refusal.message}</p>`;
  if (!unsaved) return html`<p class="save good" role="status">${labelling?.done.length || labelling?.undone.length ? "All saved" : ""}</p>`;
  if (!problem) return html`<p class="save muted" role="status">Saving ${number(unsaved)} …</p>`;
  return html`<p class="save warn" role="status">
    ${number(unsaved)} not saved yet: kept ${durable ? "in this browser" : "in this page only, do not close it"} until the studio answers
  </p>`;
}

function Nothing({ filter, project }) {
  const other = filter.filter || filter.label !== null;
  return html`<div class="panel nothing">
    <p>${other ? "No picture here: this is done." : "There is no picture yet."}</p>
    <a class="button" href=${other ? href("labels") : href("data", project.id)}>${other ? "Show all pictures" : "Add pictures"}</a>
  </div>`;
}

function ActionBar({ project, targets, labelling, actions, grid }) {
  const n = targets.length;
  const one = n === 1 ? labelling.pictures.get(targets[0]) : null;
  const chosen = grid.chosen.size;
  const what = chosen ? `${count(n, "picture")} chosen` : one ? `“${labelName(one.label)}”` : "";
  return html`<section class="act" aria-label="The chosen pictures">
    <p class="act-what"><b>${what}</b>${one ? html` <span class="small"><bdi>${one.name}</bdi></span>` : ""}</p>
    <div class="buttons start choices-of-class" role="group" aria-label="It really shows">
      <span class="small act-lead">${n === 1 ? "It shows" : "They show"}</span>
      ${project.classes.map(
        ({ name }, index) => html`<${ClassButton} key=${name} name=${name} index=${index} disabled=${!n} on=${one?.label === name} choose=${() => actions.decide(name)} />`,
      )}
      <button type="button" disabled=${!n} onClick=${actions.newClass}>${project.classes.length ? "something else …" : "new class …"}</button>
    </div>
    <div class="buttons start" role="group" aria-label="Or">
      <button type="button" disabled=${!n} onClick=${actions.confirm}><kbd aria-hidden="true">↵</kbd> Label is right</button>
      <button type="button" disabled=${!n} onClick=${actions.leaveOut}><kbd aria-hidden="true">x</kbd> Leave out</button>
      <button type="button" class="closer" disabled=${!n} onClick=${actions.open}><kbd aria-hidden="true">o</kbd> Look closer</button>
      <button type="button" onClick=${actions.undo}><kbd aria-hidden="true">u</kbd> Undo</button>
    </div>
  </section>`;
}

