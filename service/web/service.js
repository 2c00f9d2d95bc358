// HTTP client of the service: requests with the key, problem documents as errors.

const KEY = "picture-classifier-key";

/** Problem document as an error; status 0: no response at all. */
export class Problem extends Error {
  constructor(status, document = {}, retryAfterS = null) {
    super(document.detail || `The service answered with status ${status}.`);
    this.status = status;
    this.code = document.code || "";
    this.errors = document.errors || [];
    this.retryAfterS = retryAfterS;
  }
}

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  try {
    return await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new Problem(0, { detail: "The service does not answer." });
  }
}

/** Return the seconds of a Retry-After header, which holds seconds or a date (RFC 9110). */
function retryAfterS(response) {
  const value = response.headers.get("Retry-After");
  if (value === null) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 60) : null;
}

async function bodyOf(response) {
  try {
    return await response.json();
  } catch {
    if (response.ok) throw new Problem(0, { detail: "The service broke off its answer." });
    return {};
  }
}

/** Classify files in one request, or each face in them. */
export async function predict(files, faces) {
  const body = new FormData();
  for (const file of files) body.append("files", file, file.name || "picture");
  const response = await ask(`predict?explain=true${faces ? "&faces=true" : ""}`, { method: "POST", body });
  const answer = await bodyOf(response);
  if (!response.ok) throw new Problem(response.status, answer, retryAfterS(response));
  return answer;
}

/** Return the answer of GET /health, also while there is no model. */
export async function health() {
  const response = await ask("health");
  const answer = await bodyOf(response);
  if (response.ok || answer.status) return answer;
  throw new Problem(response.status, answer, retryAfterS(response));
}

/** Fetch the report; a browser that follows a link sends no key. */
export async function report() {
  const response = await ask("report");
  if (!response.ok) throw new Problem(response.status, await bodyOf(response));
  return response;
}

/** Fetch the example picture of this page. */
export async function example() {
  const response = await ask(new URL("./example.jpg", import.meta.url));
  if (!response.ok) throw new Problem(response.status);
  return new File([await response.blob()], "example.jpg", { type: "image/jpeg" });
}
