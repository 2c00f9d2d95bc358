// HTTP client of the studio: JSON in and out, problem documents as errors, and a wait while a key is missing.

import { NO_ANSWER, Problem, ask, bodyOf, problemOf } from "./shared/http.js";

export { Problem };

// Without this header the studio refuses a change: a form of another site cannot send it.
const HEADERS = { "X-Requested-With": "studio" };

let askForKey = null;
let asked = null;

/** Set the function that asks the person for a key; it returns a promise that resolves once there is one. */
export function onKeyWanted(wanted) {
  askForKey = wanted;
}

/** Return true if the same request may succeed later. */
export const passes = (problem) => [0, 429, 502, 503, 504].includes(problem.status);

/**
 * Send a request, and return the JSON of its answer.
 *
 * `json` or `body` is sent; `query` holds parameters, of which null and undefined are left out;
 * `progress(bytes)` is called while the body is sent.
 */
export async function call(method, path, { json, body, query, signal, progress, keyless = false } = {}) {
  const headers = json === undefined ? HEADERS : { ...HEADERS, "Content-Type": "application/json" };
  const options = { method, headers, body: json === undefined ? body : JSON.stringify(json), signal };
  for (;;) {
    const address = path + queryOf(query);
    const response = await (progress ? askReporting(address, options, progress) : ask(address, options));
    if (response.status === 204) return null;
    if (response.ok) return bodyOf(response);
    const problem = await problemOf(response);
    if (response.status !== 401 || keyless || !askForKey) throw problem;
    asked ??= askForKey(problem).finally(() => (asked = null));
    await asked;
  }
}

/** Fetch, and report how many bytes of the body are sent, which `fetch` does not. */
function askReporting(address, { method, headers, body, signal }, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => progress(loaded);
    request.upload.onload = ({ loaded }) => progress(loaded);
    request.onload = () => {
      const retryAfter = request.getResponseHeader("Retry-After");
      resolve(new Response(request.response || null, { status: request.status, headers: retryAfter === null ? {} : { "Retry-After": retryAfter } }));
    };
    request.onerror = () => reject(new Problem(0, { detail: NO_ANSWER }));
    request.onabort = () => reject(new DOMException("The request was stopped.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

export function queryOf(query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, json = {}, options = {}) => call("POST", path, { json, ...options });
export const patch = (path, json) => call("PATCH", path, { json });
export const remove = (path) => call("DELETE", path);

export const thumbnail = (sha256, px = 160) => `/api/thumbnails/${sha256}?px=${px}`;

/** Wait some seconds, or until a signal aborts. */
export function wait(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
