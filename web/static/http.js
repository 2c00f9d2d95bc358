// Requests to the page's own server, with problem documents (RFC 9457) as errors.

export const NO_ANSWER = "The server does not answer.";

const MAX_WAIT_S = 60;

/** Problem document as an error; status 0: no answer at all. */
export class Problem extends Error {
  constructor(status, document = {}, retryAfterS = null) {
    super(document.detail || `The server answered with status ${status}.`);
    this.status = status;
    this.code = document.code || "";
    this.errors = document.errors || [];
    this.document = document;
    this.retryAfterS = retryAfterS;
  }
}

/** Fetch; raise a Problem if no answer comes. The answer may have any status. */
export async function ask(path, options = {}) {
  try {
    return await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: NO_ANSWER });
  }
}

/** Fetch, and return an answer's JSON; raise a Problem for any other answer. */
export async function askJson(path, options = {}) {
  const response = await ask(path, options);
  if (!response.ok) throw await problemOf(response);
  return bodyOf(response);
}

/** Return an answer's JSON; for an answer that is none, {} if it is an error. */
export async function bodyOf(response) {
  try {
    return await response.json();
  } catch {
    if (response.ok) throw new Problem(0, { detail: "The server broke off its answer." });
    return {};
  }
}

/** Return an answer that is an error as a Problem. */
export async function problemOf(response) {
  return new Problem(response.status, await bodyOf(response), retryAfterS(response));
}

/** Return the seconds of a Retry-After header, which holds seconds or a date (RFC 9110). */
export function retryAfterS(response) {
  const value = response.headers.get("Retry-After");
  if (value === null) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), MAX_WAIT_S) : null;
}
