// Screen 3, train: one button; then stages, time left, figures as they come, log, cancel.

import { html, useEffect, useState } from "./htm-preact.js";
import { get, post } from "./api.js";
import { confirmed } from "./shared/dialog.js";
import { fail, follow, href, train, useStore } from "./store.js";
import { count, duration, interval, labelName, number, share, when } from "./words.js";

const FIGURES = {
  accuracy: "Right",
  balanced_accuracy: "Right, mean over the classes",
  answered: "Answered with certainty",
  ece: "Error of its scores (calibration)",
};

// Steps of a training in plain words; the log has the exact ones.
const STEPS = {
  prepare: "Get ready",
  features: "Look at each picture",
  audit: "Search for wrong labels and odd pictures",
  int8: "Try to make it faster",
  copies: "Look at altered copies",
  evaluate: "Train, and test on unseen pictures",
  finetune: "Train the network itself",
  test: "Test on the pictures kept for checking",
  robustness: "Test on damaged pictures",
  report: "Write the report",
  publish: "Check and store the model",
};

const NAMED = 6; // classes; of more, the smallest and largest size are shown

export function TrainScreen() {
  const { project, feed } = useStore();
  const [jobs, setJobs] = useState(null);
  useEffect(() => {
    const load = async () => {
      const answer = await get(`/api/projects/${project.id}/jobs`);
      setJobs(answer.jobs ?? answer);
    };
    load().catch(fail);
  }, [project.id, project.running_job?.id, project.latest_run?.id, feed?.state]);
  // After a reload the last job is shown again, with its log.
  useEffect(() => {
    if (!feed && jobs?.length) follow(jobs[0]);
  }, [jobs, feed]);
  const running = feed && !feed.over;
  return html`
    ${feed && html`<${Job} feed=${feed} />`}
    ${!running && html`<${Start} project=${project} first=${!feed} />`}
    ${jobs?.length > 1 && html`<${Earlier} jobs=${jobs} current=${feed?.id} />`}
  `;
}

function Start({ project, first }) {
  const [options, setOptions] = useState(null);
  const [changed, setChanged] = useState({});
  useEffect(() => {
    get("/api/options").then((answer) => setOptions(answer.options ?? answer), () => setOptions([]));
  }, []);
  const classes = project.classes.filter(({ pictures }) => pictures);
  const ready = classes.length >= 2;
  return html`<section class="panel start" aria-labelledby="start-heading">
    <h2 id="start-heading">${first ? "Train a model" : "Train again"}</h2>
    <p>
      ${ready
        ? `It learns from ${count(project.counts.labelled, "picture")}: ${sizesOf(classes)}. While it learns, it is tested on pictures that it has not seen.`
        : "At least two classes with pictures are needed."}
    </p>
    <div class="buttons start">
      <button type="button" class=${!project.latest_run || project.counts.changed ? "primary" : ""} disabled=${!ready} onClick=${() => train(changed)}>Train</button>
    </div>
    ${options?.length > 0 &&
    html`<details>
      <summary>Options</summary>
      <p class="small">The defaults suit nearly every data set.</p>
      <div class="options">${options.map((option) => html`<${Option} key=${option.name} ...${option} value=${changed[option.name] ?? option.default} set=${(value) => setChanged({ ...changed, [option.name]: value })} />`)}</div>
    </details>`}
  </section>`;
}

function sizesOf(classes) {
  if (classes.length <= NAMED) return classes.map(({ name, pictures }) => `${number(pictures)} “${labelName(name)}”`).join(", ");
  const sizes = classes.map(({ pictures }) => pictures);
  return `${count(classes.length, "class", "classes")} with ${number(Math.min(...sizes))} to ${number(Math.max(...sizes))} pictures`;
}

function Option({ name, kind, choices, title, help, value, set, low, high, whole }) {
  const id = `option-${name}`;
  const field = {
    choice: () => html`<select id=${id} value=${value} onChange=${({ target }) => set(target.value)} aria-describedby=${`${id}-help`}>
      ${choices.map((one) => html`<option value=${one.value ?? one}>${one.title ?? one}</option>`)}
    </select>`,
    number: () => html`<input id=${id} type="number" value=${value} min=${low} max=${high} step=${whole ? 1 : "any"} onChange=${({ target }) => set(target.value === "" ? undefined : Number(target.value))} aria-describedby=${`${id}-help`} />`,
    switch: () => html`<input id=${id} type="checkbox" checked=${value} onChange=${({ target }) => set(target.checked)} aria-describedby=${`${id}-help`} />`,
  }[kind];
  if (!field) return null;
  return html`<div class="option"><label for=${id}>${title ?? name}</label>${field()}<span id=${`${id}-help`} class="small">${help ?? ""}</span></div>`;
}

const HEADINGS = {
  queued: "Waiting for its turn",
  running: "The model is learning",
  cancelling: "Stopping",
  cancelled: "Stopped",
  failed: "It failed",
  done: "The model is ready",
};

function Job({ feed }) {
  const { project } = useStore();
  const { job, state, progress, steps, step, figures, log, finished, failed, over } = feed;
  const cancel = async () => {
    const sure = await confirmed({ title: "Stop it?", text: "What has been computed stays, and is used when you train again.", action: "Stop" });
    if (!sure) return;
    try {
      await post(`/api/jobs/${feed.id}/cancel`);
    } catch (error) {
      fail(error);
    }
  };
  const overall = state === "done" ? 1 : (progress?.overall ?? job?.overall ?? null);
  const left = progress?.overall_left_s ?? job?.overall_left_s;
  const audit = job?.kind === "audit";
  const heading = (audit && { running: "The labels are being checked", done: "The labels are checked" }[state]) || HEADINGS[state];
  const error = job?.error ?? failed;
  const run = job?.result?.run;
  return html`<section class="panel job" aria-labelledby="job-heading" data-state=${state}>
    <div class="bar">
      <div class="grow" role="status"><h2 id="job-heading">${heading}</h2></div>
      ${!over && html`<button type="button" disabled=${state === "cancelling"} onClick=${cancel}>Stop</button>`}
    </div>
    ${state === "queued" && job?.position > 0 && html`<p>${count(job.position, "job")} before it.</p>`}
    ${!over &&
    html`<progress max="1" value=${overall ?? 0} aria-label="Training"></progress>
      <p class="figures" aria-live="off">
        ${overall === null ? "Starting …" : `${Math.round(100 * overall)}%`}${left ? `, about ${duration(left)} left` : ""}
        ${progress?.total ? html` <span class="muted">· ${STEPS[step?.name] ?? step?.title ?? ""}: ${number(progress.done ?? 0)} of ${number(progress.total)}${progress.rate ? `, ${number(Math.round(progress.rate))} per second` : ""}</span>` : ""}
      </p>`}
    ${state === "failed" && html`<p class="bad" role="alert">${error?.message ?? "It ended without a message: see the log."}</p>`}
    ${state === "cancelled" && html`<p>Train again whenever you like; finished steps are not repeated.</p>`}
    ${steps.length > 0 && html`<ol class="stages">${steps.map((one) => html`<li key=${one.name} data-state=${over && state !== "done" && one.state === "now" ? "broken" : one.state} aria-current=${one.state === "now" && !over ? "step" : null}>${STEPS[one.name] ?? one.title}${one.state === "done" ? html`<span class="hidden">, done</span>` : ""}</li>`)}</ol>`}
    ${Object.keys(figures).length > 0 &&
    html`<dl class="big-figures">
      ${Object.values(figures).map(
        (figure) => html`<div key=${figure.name}><dt>${FIGURES[figure.name] ?? figure.title ?? labelName(figure.name)}</dt><dd>${share(figure)} <span class="small">${interval(figure)}</span></dd></div>`,
      )}
    </dl>`}
    ${state === "done" && !audit && html`<p class="good">${(finished?.accuracy ?? figures.accuracy) !== undefined ? `It was right for ${share(finished?.accuracy ?? figures.accuracy)} of pictures that it had not seen.` : "The model is ready."} ${run && run === project.latest_run?.id ? `It gives ${share(project.latest_run.answered)} of such pictures a class, not “uncertain”. ` : ""}${run ? html`<a href=${href("results", project.id, `/${run}`)}>How good is it?</a>` : ""}</p>`}
    ${state === "done" && audit && html`<p class="good">${project.counts.label_issues ? html`<a href=${href("labels", project.id, "?filter=label_issue")}>${count(project.counts.label_issues, "label")} may be wrong</a>` : "No label stands out. A few wrong ones cannot be told from hard pictures this way: a training shows which pictures it gets wrong."}</p>`}
    <${Log} log=${log} id=${feed.id} open=${state === "failed"} />
  </section>`;
}

function Log({ log, id, open }) {
  if (!log.length && !open) return null;
  // Most messages are about pictures, which the screen "Labels" shows: a list of names is omitted here.
  const warnings = log.filter(({ level, message }) => level === "warning" && message.startsWith("warning:")).length;
  return html`
    <details open=${open}>
      <summary>Log${warnings ? `, with ${count(warnings, "remark")}` : ""}</summary>
      <pre class="log" tabindex="0">${log.map(({ time, message }) => `${time?.slice(11, 19) ?? ""}  ${message}`).join("\n")}</pre>
      <a class="small" href=${`/api/jobs/${id}/log`} target="_blank" rel="noopener">The whole log</a>
    </details>
  `;
}

function Earlier({ jobs, current }) {
  return html`<details class="earlier">
    <summary>Earlier trainings</summary>
    <ul class="acts">
      ${jobs
        .filter(({ id }) => id !== current)
        .map((job) => html`<li key=${job.id}><span>${job.kind === "audit" ? "Check of the labels" : "Training"}: ${HEADINGS[job.state].toLowerCase()}</span><span class="small">${when(job.created_at)}${job.by ? `, ${job.by}` : ""}</span></li>`)}
    </ul>
  </details>`;
}
