// Screen 4, results: all trained models, one of them, two compared picture by picture.

import { html, useEffect, useState } from "./htm-preact.js";
import { get, thumbnail } from "./api.js";
import { fail, go, href, useStore } from "./store.js";
import { Verdict } from "./verdict.js";
import { count, duration, interval, labelName, listed, number, share, when } from "./words.js";

const STRIP = 60; // pictures shown of a long list, until asked for more
const FETCHED_AT_ONCE = 400;

export function useRuns(project) {
  const [runs, setRuns] = useState(null);
  useEffect(() => {
    get(`/api/projects/${project.id}/runs`).then((answer) => setRuns(answer.runs ?? answer), fail);
  }, [project.id, project.latest_run?.id, project.live?.run]);
  return runs;
}

export function ResultsScreen() {
  const { project } = useStore();
  const runs = useRuns(project);
  const [chosen, setChosen] = useState([]);
  if (!runs) return html`<p class="muted">Loading the results …</p>`;
  if (!runs.length) return html`<div class="panel nothing"><p>No model has been trained yet.</p><a class="button" href=${href("train")}>To the training</a></div>`;
  const choose = (id) => setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-2));
  const [a, b] = [...chosen].sort((x, y) => x - y);
  return html`
    <div class="bar">
      <h2 class="grow">Trained models</h2>
      <button type="button" disabled=${chosen.length !== 2} onClick=${() => go(href("compare", project.id, `/${a}/${b}`))}>
        ${chosen.length === 2 ? "Compare these two" : "Tick two to compare them"}
      </button>
    </div>
    <div class="scroll" tabindex="0" role="region" aria-label="Trained models">
      <table class="runs">
        <thead>
          <tr>
            ${runs.length > 1 && html`<th scope="col"><span class="hidden">Compare</span></th>`}
            <th scope="col">Model</th><th scope="col">Right</th><th scope="col">Between</th><th scope="col">Answered</th><th scope="col">Pictures</th><th scope="col">Network</th><th scope="col">Speed</th>
          </tr>
        </thead>
        <tbody>
          ${runs.map(
            (run) => html`<tr key=${run.id}>
              ${runs.length > 1 && html`<td><input type="checkbox" aria-label=${`Compare model ${run.id}`} checked=${chosen.includes(run.id)} onChange=${() => choose(run.id)} /></td>`}
              <th scope="row">
                <a href=${href("results", project.id, `/${run.id}`)}>Model ${run.id}</a> ${run.live && html`<span class="tag good">in use</span>`}
                <span class="small block">${when(run.created_at)}${run.by ? `, ${run.by}` : ""}</span>
              </th>
              <td><b>${share(run.accuracy)}</b></td>
              <td>${interval(run.accuracy) || "–"}</td>
              <td>${share(run.answered)}</td>
              <td>${run.pictures === undefined || run.pictures === null ? "–" : number(run.pictures)}</td>
              <td>${run.backbone ?? "–"} <span class="small block">${run.precision ?? ""}</span></td>
              <td>${run.ms_per_picture ? `${run.ms_per_picture.toFixed(1)} ms` : "–"}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="small explain">
      <b>Right</b>: share of correct answers, to pictures that the model was not trained on. <b>Between</b>: its 95% interval; if the intervals of two models overlap,
      they may be equally good. <b>Answered</b>: share of pictures whose score reaches the threshold. <b>Speed</b>: time per picture.
    </p>
  `;
}

export function ResultScreen({ id }) {
  const { project } = useStore();
  const runs = useRuns(project);
  const [run, setRun] = useState(null);
  useEffect(() => {
    get(`/api/runs/${id}`).then(setRun, fail);
  }, [id, project.live?.run]);
  if (!run) return html`<p class="muted">Loading the result …</p>`;
  const others = (runs ?? []).filter((other) => other.id !== run.id);
  const mistakes = run.mistakes ?? [];
  const mistaken = (id) => {
    const given = run.answers?.[id];
    return given ? `${labelName(given.label)}: answered “${labelName(given.predicted)}”` : "";
  };
  return html`
    <p class="small"><a href=${href("results")}>All models</a></p>
    <section class="panel" aria-labelledby="run-heading">
      <h2 id="run-heading">Model ${run.id} ${run.live && html`<span class="tag good">in use</span>`}</h2>
      ${run.plain && html`<p>${run.plain}</p>`}
      <dl class="big-figures">
        <div><dt>Right</dt><dd>${share(run.accuracy)} <span class="small">${interval(run.accuracy)}</span></dd></div>
        ${run.balanced_accuracy && html`<div><dt>Right, mean over the classes</dt><dd>${share(run.balanced_accuracy)} <span class="small">${interval(run.balanced_accuracy)}</span></dd></div>`}
        ${share(run.answered) !== "–" && html`<div><dt>Answered with certainty</dt><dd>${share(run.answered)}</dd></div>`}
      </dl>
      <div class="buttons start">
        <a class="button" href=${`/api/runs/${run.id}/report`} target="_blank" rel="noopener">Read the whole report</a>
        ${!run.live && project.live && html`<a class="button" href=${href("in-use", project.id, `?run=${run.id}`)}>Compare with the one in use, and switch</a>`}
        ${others.length > 0 &&
        html`<label class="field">Compare with
          <select value="" onChange=${({ target }) => target.value && go(href("compare", project.id, `/${target.value}/${run.id}`))}>
            <option value="">…</option>
            ${others.map((other) => html`<option value=${other.id}>Model ${other.id}</option>`)}
          </select>
        </label>`}
      </div>
    </section>
    ${mistakes.length > 0 && html`<${Strip} project=${project} ids=${mistakes} caption=${mistaken} title=${`${count(mistakes.length, "picture")} that it got wrong`} help="Look if the label is wrong, or the picture is hard: a click leads to its label. Pictures like these, added to the data, help most." />`}
    ${run.confusion && html`<${Confusion} ...${run.confusion} />`}
    ${run.settings?.length > 0 &&
    html`<details><summary>How it was made</summary><dl class="facts">${run.settings.map(({ name, value }) => html`<div><dt>${labelName(name)}</dt><dd>${String(value)}</dd></div>`)}</dl></details>`}
    ${run.seconds && html`<p class="small">Trained ${when(run.created_at)} in ${duration(run.seconds)}${run.version ? `, from version ${run.version}` : ""}.</p>`}
  `;
}

function Confusion({ labels, rows }) {
  return html`<section aria-labelledby="confusion-heading">
    <h2 id="confusion-heading">Which classes it confuses</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">
      <table class="confusion">
        <thead><tr><th scope="col">Label</th>${labels.map((label) => html`<th scope="col">answered “${labelName(label)}”</th>`)}</tr></thead>
        <tbody>${rows.map((row, at) => html`<tr><th scope="row">${labelName(labels[at])}</th>${row.map((n, column) => html`<td class=${at === column ? "good" : n ? "bad" : "muted"}>${number(n)}</td>`)}</tr>`)}</tbody>
      </table>
    </div>
  </section>`;
}

/** A row of pictures by id, each with a caption, each leading to the labels. */
export function Strip({ project, ids, title, help = "", caption = () => "", kind = "" }) {
  const [shown, setShown] = useState(STRIP);
  const [pictures, setPictures] = useState(new Map());
  const wanted = ids.slice(0, shown);
  useEffect(() => {
    const missing = wanted.filter((id) => !pictures.has(id));
    const load = async () => {
      const found = new Map(pictures);
      for (let at = 0; at < missing.length; at += FETCHED_AT_ONCE) {
        const answer = await get(`/api/projects/${project.id}/pictures`, { query: { ids: missing.slice(at, at + FETCHED_AT_ONCE).join(",") } });
        for (const picture of answer.pictures) found.set(picture.id, picture);
      }
      setPictures(found);
    };
    if (missing.length) load().catch(fail);
  }, [ids, shown]);
  return html`<section class=${`strip ${kind}`}>
    <h2>${title}</h2>
    ${help && html`<p class="small">${help}</p>`}
    <ul class="pictures">
      ${wanted.map((id) => {
        const picture = pictures.get(id);
        return html`<li key=${id}>
          ${picture ? html`<a href=${href("labels", project.id, `?picture=${id}`)}><img src=${thumbnail(picture.sha256)} alt=${`Label of ${picture.name}`} loading="lazy" width="120" height="120" /></a>` : html`<span class="no-picture"></span>`}
          <span class="small">${caption(id, picture) || (picture ? labelName(picture.label) : "")}</span>
        </li>`;
      })}
    </ul>
    ${ids.length > shown && html`<button type="button" onClick=${() => setShown(shown + FETCHED_AT_ONCE)}>Show more (${number(ids.length - shown)})</button>`}
  </section>`;
}

export function CompareScreen({ a, b }) {
  const { project } = useStore();
  const runs = useRuns(project);
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    get(`/api/runs/${a}/compare/${b}`).then(setFound, (error) => setProblem(error.message));
  }, [a, b]);
  if (problem) return html`<p class="notice bad" role="alert">${problem}</p><p><a href=${href("results")}>All models</a></p>`;
  if (!found) return html`<p class="muted">Comparing …</p>`;
  const { fixed, broken, unchanged, paired, settings = [], dataset = {}, answers = {} } = found;
  const caption = (id, picture) => {
    const given = answers[id];
    return given ? `${labelName(picture?.label ?? given.label)}: model ${a} answered “${labelName(given.a)}”, model ${b} “${labelName(given.b)}”` : "";
  };
  const sizes = [
    [sizeOf(dataset.added), "added"],
    [sizeOf(dataset.removed), "removed"],
    [sizeOf(dataset.relabelled), "with another label"],
  ].filter(([n]) => n);
  const swap = (x, y) => go(href("compare", project.id, `/${x}/${y}`), { replace: true });
  const other = (which, value, change) => html`<label class="field">${which}
    <select value=${value} onChange=${({ target }) => change(target.value)}>${(runs ?? []).map((run) => html`<option value=${run.id}>Model ${run.id}${run.live ? " (in use)" : ""}</option>`)}</select>
  </label>`;
  return html`
    <p class="small"><a href=${href("results")}>All models</a></p>
    <section class="panel" aria-labelledby="compare-heading">
      <h2 id="compare-heading">What changed from model ${a} to model ${b}</h2>
      <div class="bar">${other("From", a, (value) => swap(value, b))} ${other("to", b, (value) => swap(a, value))}</div>
      <${Verdict} paired=${paired} fixed=${fixed.length} broken=${broken.length} />
      <p>
        ${sizes.length ? `The data: ${listed(sizes.map(([n, what]) => `${count(n, "picture")} ${what}`))}.` : "Both learned from the same pictures with the same labels."}
        ${unchanged ? ` Unchanged: ${number(sizeOf(unchanged.correct))} right in both, ${number(sizeOf(unchanged.wrong))} wrong in both.` : ""}
      </p>
      ${settings.length > 0 &&
      html`<details><summary>${count(settings.length, "setting that differs", "settings that differ")}</summary>
        <div class="scroll"><table><thead><tr><th scope="col">Setting</th><th scope="col">Model ${a}</th><th scope="col">Model ${b}</th></tr></thead>
        <tbody>${settings.map((one) => html`<tr><th scope="row">${labelName(one.name)}</th><td>${String(one.a)}</td><td>${String(one.b)}</td></tr>`)}</tbody></table></div>
      </details>`}
    </section>
    ${fixed.length > 0 && html`<${Strip} project=${project} ids=${fixed} caption=${caption} kind="fixed" title=${`Fixed: ${count(fixed.length, "picture")} that only model ${b} gets right`} />`}
    ${broken.length > 0 && html`<${Strip} project=${project} ids=${broken} caption=${caption} kind="broken" title=${`Broken: ${count(broken.length, "picture")} that only model ${a} gets right`} />`}
    ${Array.isArray(unchanged?.wrong) && unchanged.wrong.length > 0 && html`<${Strip} project=${project} ids=${unchanged.wrong} caption=${caption} title=${`Wrong in both: ${count(unchanged.wrong.length, "picture")}`} />`}
  `;
}

const sizeOf = (some) => (typeof some === "number" ? some : (some?.length ?? 0));
