// State that several screens share: the route, the project, its job; and the way to change it.

import { useEffect, useState } from "./htm-preact.js";
import { Problem, get, passes, post } from "./api.js";
import { JobFeed } from "./job-feed.js";

const POLL_S = 4;
const POLL_BUSY_S = 1.5;
// Of the studio by default, until it has sent its own.
const LIMITS = { file_bytes: 32 * 2 ** 20, archive_bytes: 8 * 2 ** 30, files_per_request: 64, name_chars: 200 };

export const state = {
  route: routeOf(location),
  session: null,
  projects: null, // null while unknown
  project: null,
  uploads: new Map(), // by project
  feed: null, // of the running job, or of the last one
  unsaved: 0, // decisions that the server does not have yet
  lost: null, // the Problem while the studio does not answer
  failure: null, // a Problem that nothing else shows
};

const listeners = new Set();
let scheduled = false;

/** Change the state, and notify the screens, once per turn. */
export function update(changes = {}) {
  Object.assign(state, changes);
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(() => {
    scheduled = false;
    for (const listener of [...listeners]) listener();
  });
}

/** Hook: render again after each change. */
export function useStore() {
  const [, render] = useState(0);
  useEffect(() => {
    const listener = () => render((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}

// --- routes: /, /projects/3/SCREEN[/7[/8]] ------------------------------------------------------

export function routeOf({ pathname, search }) {
  const [, , project = "", screen = "data", a = "", b = ""] = pathname.split("/");
  if (!pathname.startsWith("/projects/") || !project) return { screen: "home", query: new URLSearchParams(search) };
  return { screen, project: decodeURIComponent(project), a, b, query: new URLSearchParams(search) };
}

export const href = (screen, project = state.route.project, rest = "") => `/projects/${project}/${screen}${rest}`;

export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  arrived();
  scrollTo(0, 0);
}

function arrived() {
  const before = state.route;
  const route = routeOf(location);
  update({ route, failure: null });
  if (route.project !== before.project) {
    state.feed?.close();
    update({ project: null, feed: null });
    refresh();
  }
}

addEventListener("popstate", arrived);
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.download) return;
  if (link.origin !== location.origin || !/^\/($|projects\/)/.test(link.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
});

// --- the project -----------------------------------------------------------------------------------

let timer = 0;
let asking = null;

/** Ask for the project of the route, or for all projects, now and every few seconds. */
export function refresh() {
  clearTimeout(timer);
  asking ??= ask().finally(() => {
    asking = null;
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden ? null : refresh()), 1000 * (isBusy() ? POLL_BUSY_S : POLL_S));
  });
  return asking;
}

/** Return the studio's limits of uploads and names. */
export const limits = () => ({ ...LIMITS, ...state.session?.limits });

const isBusy = () => state.project && (state.project.running_job || state.uploads.get(String(state.project.id))?.state === "sending");

document.addEventListener("visibilitychange", () => document.hidden || refresh());

async function ask() {
  const { project: id } = state.route;
  try {
    if (!id) {
      const answer = await get("/api/projects");
      update({ projects: answer.projects ?? answer, lost: null });
      return;
    }
    const project = await get(`/api/projects/${id}`);
    if (state.route.project !== id) return;
    update({ project, lost: null });
    follow(project.running_job);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (passes(error)) update({ lost: error });
    else update({ failure: error });
  }
}

/** Listen to a job, unless that is done already. */
export function follow(job) {
  if (!job || state.feed?.id === (job.id ?? job)) return;
  state.feed?.close();
  const feed = new JobFeed(job.id ?? job, () => update(), () => refresh());
  update({ feed });
}

/** Start training, and go to its screen. */
export async function train(options = {}) {
  const { id } = state.project;
  try {
    const job = await post(`/api/projects/${id}/jobs`, { kind: "fit", options });
    follow(job);
    go(href("train"));
    refresh();
  } catch (error) {
    fail(error);
  }
}

/** Show an error that a person has caused or can fix. */
export function fail(error) {
  if (!(error instanceof Problem)) throw error;
  update({ failure: error });
}
