// Sends pictures in small batches, two at a time, and honours Retry-After.

import { predict } from "./service.js";
import { Problem } from "./shared/http.js";

const MAX_FILES = 8; // per request
const MAX_BYTES = 16 * 2 ** 20; // per request
const MAX_REQUESTS = 2; // at a time
const DEFAULT_WAIT_S = 2;
// Errors that a retry would not fix: their cause is the picture.
const FINAL = ["empty_picture", "unsupported_format", "undecodable_image", "image_too_large", "body_too_large", "file_gone"];

export function mayAskAgain(item) {
  return item.state === "failed" && !FINAL.includes(item.problem.code);
}

/**
 * Each item has a `file` and a `state`: waiting, sending, answered or failed; then an `answer` or
 * a `problem`, and the `model` that answered.
 */
export class Queue {
  #waiting = [];
  #sending = 0;
  #single = false; // after a batch was refused as a whole, pictures go one by one
  #resumes = 0; // the timer of a wait that the service asked for
  paused = false;
  faces = false; // true to classify each face

  /** `on` has changed(items), answered(model), held(problem, seconds) and flowing(). */
  constructor(on) {
    this.on = on;
  }

  add(items) {
    for (const item of items) {
      item.state = "waiting";
      item.answer = item.problem = null;
    }
    this.#waiting.push(...items);
    this.on.changed(items);
    this.#send();
  }

  remove(items) {
    for (const item of items) {
      item.kept = item.state;
      item.state = "removed";
    }
    this.#waiting = this.#waiting.filter((item) => item.state !== "removed");
  }

  /** Take removed items back: answers stay, and the others are sent. */
  restore(items) {
    for (const item of items) item.state = item.kept;
    this.on.changed(items);
    this.add(items.filter(({ state }) => state === "waiting" || state === "sending"));
  }

  /** Resume after a pause. */
  resume() {
    clearTimeout(this.#resumes);
    this.paused = false;
    this.#send();
  }

  #send() {
    while (!this.paused && this.#sending < MAX_REQUESTS && this.#waiting.length) {
      this.#sendBatch(this.#takeBatch());
    }
  }

  #takeBatch() {
    const limit = this.#single ? 1 : MAX_FILES;
    let bytes = 0;
    let count = 0;
    for (const item of this.#waiting.slice(0, limit)) {
      bytes += item.file.size;
      if (count && bytes > MAX_BYTES) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #sendBatch(batch) {
    this.#sending += 1;
    for (const item of batch) item.state = "sending";
    this.on.changed(batch);
    try {
      const answer = await predict(batch.map((item) => item.file), this.faces);
      this.#take(batch, answer);
      this.on.flowing();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 0) await this.#unreachable(batch, error);
      else this.#refused(batch, error);
    } finally {
      this.#sending -= 1;
    }
    const kept = batch.filter((item) => item.state !== "removed");
    if (kept.length) this.on.changed(kept);
    this.#send();
  }

  #take(batch, { model, predictions, threshold }) {
    batch.forEach((item, index) => {
      if (item.state === "removed") return;
      const { error, ...answer } = predictions[index];
      item.model = model;
      item.threshold = threshold;
      item.state = error ? "failed" : "answered";
      item.problem = error || null;
      item.answer = error ? null : answer;
    });
    this.on.answered(model);
  }

  #refused(batch, problem) {
    const { status } = problem;
    if (status === 401) this.#hold(batch, problem, null);
    else if (status === 429 || status === 503) {
      this.#hold(batch, problem, problem.retryAfterS ?? DEFAULT_WAIT_S);
    } else if (status === 413 && batch.length > 1) {
      this.#single = true;
      this.#putBack(batch);
    } else {
      const own = new Map(problem.errors.map((error) => [error.index, error]));
      batch.forEach((item, index) => {
        if (item.state === "removed") return;
        const { code, message, detail = message } = own.get(index) || problem;
        item.state = "failed";
        item.problem = { code, detail };
      });
      this.on.flowing();
    }
  }

  /** Handle no response: either the service or a file is gone. */
  async #unreachable(batch, problem) {
    let gone = 0;
    for (const item of batch) {
      try {
        await item.file.slice(0, 1).arrayBuffer();
      } catch {
        gone += 1;
        item.state = "failed";
        item.problem = { code: "file_gone", detail: "The file cannot be read any more: was it moved or changed?" };
      }
    }
    const rest = batch.filter((item) => item.state === "sending");
    if (gone) this.#putBack(rest);
    else this.#hold(rest, problem, null);
  }

  #putBack(batch) {
    const kept = batch.filter((item) => item.state !== "removed");
    for (const item of kept) item.state = "waiting";
    this.#waiting.unshift(...kept);
  }

  /** Pause until resumed, or for some seconds. */
  #hold(batch, problem, seconds) {
    this.#putBack(batch);
    this.paused = true;
    clearTimeout(this.#resumes);
    if (seconds !== null) this.#resumes = setTimeout(() => this.resume(), 1000 * seconds);
    this.on.held(problem, seconds);
  }
}
