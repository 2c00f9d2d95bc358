// The service's interface: requests with the key that the reader gave.

import { Problem, ask as fetched, bodyOf, problemOf } from "./shared/http.js";

const KEY = "picture-classifier-key";

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  return fetched(path, { ...options, headers: key ? { Authorization: `Bearer ${key}` } : {} });
}

/** Fetch something of the model's bundle; a browser that follows a link sends no key. */
export async function fetchDocument(path) {
  const response = await ask(path);
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Classify files in one request, or each face in them. */
export async function predict(files, faces) {
  const body = new FormData();
  for (const file of files) body.append("files", file, file.name || "picture");
  const response = await ask(`predict?explain=true${faces ? "&faces=true" : ""}`, { method: "POST", body });
  if (!response.ok) throw await problemOf(response);
  return bodyOf(response);
}

/** Return the answer of GET /health, also while there is no model. */
export async function health() {
  const response = await ask("health");
  const answer = await bodyOf(response);
  if (response.ok || answer.status) return answer;
  throw new Problem(response.status, answer);
}

/** Return the page's settings: the address of the studio, or null. */
export async function settings() {
  return bodyOf(await ask(new URL("./settings.json", import.meta.url)));
}
