// One upload: hash, ask which pictures are missing, send only those; wait after errors, and resume.

import { Problem, call, post, wait } from "./api.js";
import { Hasher, canHash } from "./hashing.js";
import { newId } from "./outbox.js";
import { PatientRequests } from "./patient.js";
import { bytes } from "./words.js";

const CHECK_FILES = 250; // per question for what is missing
const CHECK_WAIT_MS = 300; // max wait of a question for more hashes
const BATCH_BYTES = 16 * 2 ** 20;
const SENDERS = 3; // requests at a time
const HASHED_AHEAD = 1000; // files that are hashed and not sent yet
const RATE_OVER_S = 10;
const UNDONE = "drop_undone"; // code of the answer to a batch of a drop that was undone meanwhile
// Every other file would fail as well: not allowed, the project is gone, or the drop was undone.
const endsAll = ({ status, code }) => status === 403 || status === 404 || code === UNDONE;

/** Remembered while an upload runs, so that the page can report an interrupted upload after it was closed. */
const MARK = (project) => `studio-upload-${project}`;

export function interrupted(project) {
  return JSON.parse(localStorage.getItem(MARK(project)) ?? "null");
}

export function forgetInterrupted(project) {
  localStorage.removeItem(MARK(project));
}

/**
 * The upload of one drop into a project.
 *
 * State for the page: `state` is sending, waiting, done, stopped, undone or failed; `done` of `total`
 * files are settled: `added`, `duplicates` or `refused` [{path, reason}]; `counts` are the server's;
 * `archive` is the zip that is on its way, {name, sent, size}, or null.
 */
export class Upload {
  state = "sending";
  problem = null;
  added = 0;
  duplicates = 0;
  sentBytes = 0;
  conflicts = [];
  refused = [];
  counts = null;
  archive = null;
  #drop = newId(); // one act on the server, to be undone as one
  #abort = new AbortController();
  #requests = new PatientRequests({
    signal: this.#abort.signal,
    waiting: (problem) => this.#goOn("waiting", problem),
    answered: () => this.state === "waiting" && this.#goOn("sending", null),
  });
  #history = [];
  #marked = 0;

  /**
   * `files` are [{file, path}], `labels` maps paths to labels, `split` is what to do with a
   * train/test split or null, `limits` are the studio's; `changed()` is called after each step.
   */
  constructor({ project, files, archives = [], labels = {}, split = null, refused = [], tables = [], limits, changed }) {
    Object.assign(this, { project, files, archives, labels, split, tables, limits, changed });
    this.refused = [...refused];
    this.total = files.length + archives.length + refused.length;
  }

  get #query() {
    return { split: this.split, drop: this.#drop };
  }

  get done() {
    return this.added + this.duplicates + this.refused.length;
  }

  /** Seconds that are left at the rate of the last seconds, or null. */
  get leftS() {
    const [first] = this.#history;
    const last = this.#history.at(-1);
    if (!first || last.time - first.time < 1000) return null;
    const rate = (last.progress - first.progress) / (last.time - first.time);
    const [progress, all] = this.#progress;
    return rate > 0 ? (all - progress) / rate / 1000 : null;
  }

  /** Bytes of the zip that is sent, else files that are settled; and how many there are. */
  get #progress() {
    return this.archive ? [this.archive.sent, this.archive.size] : [this.done, this.total];
  }

  stop() {
    this.#abort.abort();
    this.state = "stopped";
    this.#notify();
  }

  /** Send everything; resolves when all is settled or the upload was stopped. */
  async run() {
    this.#mark();
    try {
      for (const archive of this.archives) await this.#sendArchive(archive);
      if (canHash()) await this.#sendMissing();
      else await this.#sendAll(this.files);
      for (const { path, file, kind } of this.tables) await this.#sendTable(path, file, kind);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#abort.abort();
      this.state = error.code === UNDONE ? "undone" : "failed";
      this.problem = error;
      if (this.state === "undone") {
        this.counts = null; // of before the undo
        forgetInterrupted(this.project);
      }
      this.#notify();
    }
    if (this.#abort.signal.aborted) return;
    this.state = "done";
    forgetInterrupted(this.project);
    this.#notify();
  }

  // Hashing runs ahead of the checks, and the checks ahead of the sending; a stage that is too far
  // ahead waits for the next one.
  async #sendMissing() {
    const hasher = new Hasher();
    const hashed = [];
    const missing = [];
    let unsettled = 0;
    let hashing = true;
    let checking = true;
    const hashAll = async () => {
      const queue = this.files.values();
      const hashNext = async () => {
        for (const item of queue) {
          while (unsettled > HASHED_AHEAD && !this.#abort.signal.aborted) await wait(0.05);
          if (this.#abort.signal.aborted) return;
          if (item.file.size > this.limits.file_bytes) this.#refuse(item.path, tooLarge(this.limits.file_bytes));
          else if (item.file.size === 0) this.#refuse(item.path, "The file is empty.");
          else {
            unsettled += 1;
            try {
              item.sha256 = await hasher.hash(item.file);
              hashed.push(item);
            } catch {
              unsettled -= 1;
              this.#refuse(item.path, "The file cannot be read: was it moved or changed?");
            }
          }
        }
      };
      await Promise.all([hashNext(), hashNext(), hashNext(), hashNext()]);
      hashing = false;
    };
    const checkAll = async () => {
      let waited = 0;
      while ((hashing || hashed.length) && !this.#abort.signal.aborted) {
        if (!hashed.length || (hashing && hashed.length < CHECK_FILES && waited < CHECK_WAIT_MS)) {
          await wait(0.02);
          waited += 20;
          continue;
        }
        waited = 0;
        const some = hashed.splice(0, CHECK_FILES);
        const absent = await this.#check(some);
        unsettled -= some.length - absent.length;
        missing.push(...absent);
      }
      checking = false;
    };
    const sendAll = async () => {
      while ((checking || missing.length) && !this.#abort.signal.aborted) {
        // While more files are coming, a small batch waits briefly to be filled.
        if (!missing.length || (checking && missing.length < this.limits.files_per_request && hashing)) {
          await wait(0.02);
          if (!missing.length || hashing) continue;
        }
        const batch = this.#takeBatch(missing);
        const taken = batch.length;
        await this.#send(batch);
        unsettled -= taken;
      }
    };
    try {
      await Promise.all([hashAll(), checkAll(), ...Array.from({ length: SENDERS }, sendAll)]);
    } finally {
      hasher.close();
    }
  }

  async #sendAll(files) {
    const queue = [...files];
    const sender = async () => {
      while (queue.length && !this.#abort.signal.aborted) await this.#send(this.#takeBatch(queue));
    };
    await Promise.all(Array.from({ length: SENDERS }, sender));
  }

  /** Ask which of the files the studio lacks; those that it has are counted. */
  async #check(items) {
    const answer = await this.#requests.send(() => {
      const files = items.map(({ path, sha256 }) => ({ path, sha256, label: this.labels[path] ?? null }));
      return post(`/api/projects/${this.project}/uploads/check`, { files }, { query: this.#query, signal: this.#abort.signal });
    });
    if (!answer) return [];
    const missing = new Set(answer.missing);
    this.#settle(answer.results ?? [], answer.counts);
    // The same bytes under two names: the second is settled once the first has been sent.
    return items.filter(({ sha256 }) => missing.has(sha256));
  }

  async #send(batch) {
    if (!batch.length) return;
    const body = () => {
      const form = new FormData();
      form.append("labels", JSON.stringify(Object.fromEntries(batch.map(({ path }) => [path, this.labels[path] ?? null]))));
      form.append("paths", JSON.stringify(batch.map(({ path }) => path))); // a form changes quotes in file names
      for (const { file, path } of batch) form.append("files", file, path);
      return form;
    };
    try {
      const answer = await this.#requests.send(
        async () => {
          const options = { body: body(), query: this.#query, signal: this.#abort.signal };
          return batch.length ? await call("POST", `/api/projects/${this.project}/pictures`, options) : null;
        },
        () => this.#dropUnreadable(batch),
      );
      if (!answer) return;
      this.sentBytes += batch.reduce((sum, { file }) => sum + file.size, 0);
      this.#settle(answer.results, answer.counts, batch);
    } catch (error) {
      if (!(error instanceof Problem) || endsAll(error)) throw error;
      if (batch.length === 1) this.#refuse(batch[0].path, error.message);
      else {
        const middle = batch.length >> 1;
        await this.#send(batch.slice(0, middle));
        await this.#send(batch.slice(middle));
      }
    }
  }

  async #sendArchive(file) {
    const { name, size } = file;
    if (size > this.limits.archive_bytes) return this.#refuse(name, tooLarge(this.limits.archive_bytes));
    this.archive = { name, size, sent: 0 };
    this.#history = [];
    const progress = (sent) => {
      this.archive.sent = Math.min(sent, size);
      this.#notify();
    };
    try {
      const address = `/api/projects/${this.project}/archive`;
      const options = { body: file, query: this.#query, signal: this.#abort.signal, progress };
      const zip = [{ file, path: name }];
      const answer = await this.#requests.send(
        async () => (zip.length ? await call("POST", address, options) : null),
        () => this.#dropUnreadable(zip),
      );
      if (!answer) return;
      this.total += Math.max(0, answer.results.length - 1);
      this.sentBytes += size;
      this.archive = null;
      for (const [path, applied] of Object.entries(answer.tables ?? {})) this.#settleTable(path, applied);
      this.#settle(answer.results, answer.counts);
    } catch (error) {
      if (!(error instanceof Problem) || endsAll(error)) throw error;
      this.#refuse(name, error.message);
    } finally {
      this.archive = null;
      this.#history = [];
    }
  }

  async #sendTable(path, file, kind) {
    try {
      const text = await file.text();
      const answer = await this.#requests.send(() =>
        call("POST", `/api/projects/${this.project}/tables`, { body: text, query: { kind }, signal: this.#abort.signal }),
      );
      if (answer) this.#settleTable(path, answer);
    } catch (error) {
      this.refused.push({ path, reason: error.message });
    }
    this.#notify();
  }

  #settleTable(path, { refused = [], unmatched = [] }) {
    for (const { path: row, reason } of refused) this.refused.push({ path: `${path}, ${row}`, reason });
    if (unmatched.length) this.refused.push({ path, reason: `It names pictures that are not here, such as ${unmatched[0]}.` });
  }

  /** No answer at all may also mean that a file is gone: each file of the batch is tried then. */
  async #dropUnreadable(batch) {
    const gone = new Set();
    for (const item of batch) {
      await item.file.slice(0, 1).arrayBuffer().catch(() => gone.add(item));
    }
    for (const item of gone) this.#refuse(item.path, "The file cannot be read any more: was it moved or changed?");
    batch.splice(0, batch.length, ...batch.filter((item) => !gone.has(item)));
    return gone.size > 0;
  }

  #goOn(state, problem) {
    if (this.#abort.signal.aborted) return;
    this.state = state;
    this.problem = problem;
    this.#notify();
  }

  #settle(results, counts, batch = null) {
    for (const [index, { path, status, reason, conflict, label }] of results.entries()) {
      const name = batch?.[index]?.path ?? path;
      if (status === "added") this.added += 1;
      else if (status === "duplicate") this.duplicates += 1;
      else this.refused.push({ path: name, reason });
      if (conflict) this.conflicts.push({ path: name, reason, label });
    }
    if (counts && (!this.counts || counts.pictures >= this.counts.pictures)) this.counts = counts;
    this.#notify();
  }

  #refuse(path, reason) {
    this.refused.push({ path, reason });
    this.#notify();
  }

  #notify() {
    const time = performance.now();
    this.#history.push({ time, progress: this.#progress[0] });
    while (this.#history[0].time < time - 1000 * RATE_OVER_S) this.#history.shift();
    if (time - this.#marked > 1000 && (this.state === "sending" || this.state === "waiting")) this.#mark();
    this.changed();
  }

  #mark() {
    this.#marked = performance.now();
    localStorage.setItem(MARK(this.project), JSON.stringify({ total: this.total, done: this.done, at: Date.now() }));
  }

  #takeBatch(queue) {
    let size = 0;
    let n = 0;
    for (const { file } of queue.slice(0, this.limits.files_per_request)) {
      size += file.size;
      if (n && size > BATCH_BYTES) break;
      n += 1;
    }
    return queue.splice(0, n);
  }
}

const tooLarge = (max) => `It is larger than ${bytes(max)}.`;
