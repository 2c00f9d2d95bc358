// Entry point of the studio: frame of the page, the line with the next step, and the screens.

import { html, render, useEffect, useRef, useState } from "./htm-preact.js";
import { Problem, call, get, onKeyWanted } from "./api.js";
import { DataScreen } from "./data-screen.js";
import { Home } from "./home.js";
import { InUseScreen } from "./in-use-screen.js";
import { nextStep } from "./next.js";
import { CompareScreen, ResultScreen, ResultsScreen } from "./results-screen.js";
import { toast } from "./shared/dialog.js";
import { go, href, refresh, state, update, useStore } from "./store.js";
import { TrainScreen } from "./train-screen.js";
import { LabelsScreen } from "./labels-screen.js";
import { count } from "./words.js";

const SCREENS = [
  { id: "data", title: "Data", screen: DataScreen },
  { id: "labels", title: "Labels", screen: LabelsScreen },
  { id: "train", title: "Train", screen: TrainScreen },
  { id: "results", title: "Results", screen: ResultsScreen },
  { id: "in-use", title: "In use", screen: InUseScreen },
];

function App() {
  const { route, project, session, lost, failure } = useStore();
  const screen = SCREENS.find(({ id }) => id === route.screen)?.title ?? "Results";
  const title = project ? `${screen} · ${project.name} · Studio` : "Studio";
  if (document.title !== title) document.title = title;
  const inProject = Boolean(route.project);
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <header class="wide top">
      <div class="brand">
        <img src="/page/shared/icon.svg" alt="" width="28" height="28" />
        <a class="home" href="/" aria-label="Studio: all projects">Studio</a>
        ${project && html`<span class="project-name"><bdi>${project.name}</bdi></span>`}
      </div>
      <${Elsewhere} session=${session} project=${project} />
    </header>
    ${inProject && html`<${Steps} />`}
    <div class="wide notices">
      ${lost && html`<div class="notice bad" role="alert"><p>${lost.message} What you do is kept in this browser until it is back.</p></div>`}
      ${failure &&
      html`<div class="notice bad" role="alert">
        <p>${failure.message}</p>
        <button type="button" onClick=${() => update({ failure: null })}>Close</button>
      </div>`}
      <${KeyForm} />
    </div>
    <main id="main" class="wide" tabindex="-1">${inProject ? html`<h1 class="hidden">${title}</h1><${ProjectScreen} />` : html`<${Home} />`}</main>
  `;
}

function Elsewhere({ session, project }) {
  const service = project?.live?.service_url;
  return html`<nav aria-label="More">
    ${service && html`<a href=${service} target="_blank" rel="noopener">Page of the service</a>`}
    ${session?.name && html`<span class="small person">${session.name}${session.role && session.keys ? ` (may ${session.role})` : ""}</span>`}
  </nav>`;
}

/** The five screens, in the order in which they are used, and the next step. */
function Steps() {
  const { project, route, unsaved } = state;
  const current = route.screen === "compare" ? "results" : route.screen;
  const next = project && nextStep(state);
  return html`
    <nav class="wide steps" aria-label="Steps">
      <ol>
        ${SCREENS.map(
          ({ id, title }, index) =>
            html`<li>
              <a href=${href(id)} aria-current=${id === current ? "page" : null}><b aria-hidden="true">${index + 1}</b> ${title}<${Badge} id=${id} /></a>
            </li>`,
        )}
      </ol>
    </nav>
    <div class="next-line">
      <div class="wide next" role="region" aria-label="What to do next">
        <p id="next"><b>Next:</b> ${next?.text ?? "…"}</p>
        ${next?.other && html`<a href=${next.other.href}>${next.other.label}</a>`}
        ${next?.label &&
        (next.href
          ? html`<a class="button primary" id="next-action" href=${next.href}>${next.label}</a>`
          : html`<button class="primary" id="next-action" type="button" onClick=${next.act}>${next.label}</button>`)}
      </div>
    </div>
  `;
}

function Badge({ id }) {
  const { project } = state;
  if (!project) return null;
  if (id === "labels" && project.counts.label_issues) return html`<span class="badge" aria-label=${`, ${count(project.counts.label_issues, "label issue")}`}>${project.counts.label_issues}</span>`;
  if (id === "train" && project.running_job) return html`<span class="badge busy" aria-label=", running">●</span>`;
  return null;
}

function ProjectScreen() {
  const { project, route, failure } = state;
  if (!project) return failure ? html`<p><a href="/">All projects</a></p>` : html`<p class="muted">Opening the project …</p>`;
  if (route.screen === "results" && route.a) return html`<${ResultScreen} key=${route.a} id=${route.a} />`;
  if (route.screen === "compare") return html`<${CompareScreen} key=${`${route.a}/${route.b}`} a=${route.a} b=${route.b} />`;
  const { screen } = SCREENS.find(({ id }) => id === route.screen) ?? SCREENS[0];
  return html`<${screen} key=${`${route.project}/${route.screen}`} />`;
}

// --- the key, if the studio requires one ------------------------------------------------------

let keyAsked = null; // {again, resolve}

onKeyWanted(
  (problem) =>
    new Promise((resolve) => {
      keyAsked = { text: problem.code === "key_refused" ? problem.message : "", resolve };
      update();
    }),
);

function KeyForm() {
  const input = useRef(null);
  const [refused, setRefused] = useState("");
  const wanted = keyAsked;
  useEffect(() => wanted && input.current?.focus(), [wanted]);
  if (!wanted) return null;
  const send = async (event) => {
    event.preventDefault();
    try {
      await call("POST", "/api/session", { json: { key: input.current.value.trim() }, keyless: true });
      keyAsked = null;
      wanted.resolve();
      update({ session: await get("/api/session") });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setRefused(error.message);
    }
  };
  return html`<section class="notice" aria-labelledby="key-heading">
    <h2 id="key-heading">This studio needs a key</h2>
    <p id="key-text">${refused || wanted.text || "Enter the key that the operator of the studio gave you."}</p>
    <form class="bar" onSubmit=${send}>
      <label for="key-input">Key</label>
      <input ref=${input} id="key-input" type="password" autocomplete="off" required aria-describedby="key-text" />
      <button class="primary" type="submit">Use this key</button>
    </form>
  </section>`;
}

/** Prevent a file that is dropped on a screen without a drop zone from replacing the page. */
function guardDrops() {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    // A screen that takes drops marks the event, after this.
    setTimeout(() => event.taken || toast("Pictures are added on the screen “Data”.", { action: "Go there", onaction: () => state.route.project && go(href("data")) }));
  });
}

/** An upload ends with the page: the browser asks before it closes it. */
function guardUploads() {
  addEventListener("beforeunload", (event) => {
    if ([...state.uploads.values()].some(({ state: stage }) => stage === "sending" || stage === "waiting")) event.preventDefault();
  });
}

/** An action may remove its own button: the focus goes on to the content, not to the start of the page. */
function guardFocus(app) {
  let last = null;
  addEventListener("focusin", ({ target }) => (last = target));
  new MutationObserver(() => {
    if (!last || last.isConnected || document.activeElement !== document.body) return;
    last = null;
    document.getElementById("main")?.focus({ preventScroll: true });
  }).observe(app, { childList: true, subtree: true });
}

async function start() {
  guardDrops();
  guardUploads();
  guardFocus(document.getElementById("app"));
  render(html`<${App} />`, document.getElementById("app"));
  refresh();
  try {
    update({ session: await get("/api/session") });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}

document.getElementById("app").replaceChildren();
start();
