// Decisions on their way to the server: kept in IndexedDB until the server has answered, so that
// neither a reload, a killed tab nor a lost connection loses one. Acts carry an id of their own, so
// that sending one twice applies it once.

import { Problem, passes, post, wait } from "./api.js";

const DATABASE = "studio-outbox";
const STORE = "acts";
const RETRY_S = 1;
const MAX_RETRY_S = 10;

/** Return a random id (RFC 9562); `crypto.randomUUID` exists on localhost and over HTTPS only. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * Queue of acts, sent one after the other in their order.
 *
 * A record is {id, project, decisions: [{picture, label, revision}]} or {id, project, undoes}.
 * Listeners: saved(record, answer), refused(record, problem), changed().
 */
class Outbox {
  records = [];
  problem = null; // the reason why no request succeeds at present
  durable = true; // false if the browser keeps nothing: then closing the page loses waiting decisions
  #database = null;
  #listeners = new Set();
  #sending = false;
  #wake = null;

  constructor() {
    this.ready = this.#open();
    addEventListener("online", () => this.#wake?.());
    addEventListener("beforeunload", (event) => {
      if (this.records.length && !this.durable) event.preventDefault();
    });
  }

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Return the number of pictures whose decision the server does not have yet. */
  get unsaved() {
    return this.records.reduce((sum, { decisions }) => sum + (decisions?.length ?? 1), 0);
  }

  /** Keep an act, and send it when its turn comes. */
  add(record) {
    this.records.push(record);
    // In the same turn as the revisions were read: a later answer then finds the record here.
    this.#write((store) => store.put(record));
    this.#notify("changed");
    this.#wake?.();
    this.#send();
  }

  async #open() {
    try {
      this.#database = await new Promise((resolve, reject) => {
        const request = indexedDB.open(DATABASE, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "seq", autoIncrement: true }).createIndex("id", "id");
        request.onsuccess = () => resolve(request.result);
        request.onerror = request.onblocked = () => reject(request.error);
      });
      const kept = await new Promise((resolve, reject) => {
        const request = this.#database.transaction(STORE).objectStore(STORE).getAll();
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
      this.records.unshift(...kept.map(({ seq, ...record }) => record));
    } catch {
      this.durable = false;
    }
    this.#notify("changed");
    this.#send();
  }

  #write(change) {
    if (!this.#database) return;
    try {
      const transaction = this.#database.transaction(STORE, "readwrite");
      transaction.onabort = () => (this.durable = false);
      change(transaction.objectStore(STORE));
    } catch {
      this.durable = false;
    }
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    let tries = 0;
    while (this.records.length) {
      const [record] = this.records;
      try {
        const answer = await sendOne(record);
        tries = 0;
        this.problem = null;
        // First the revisions, then the deletion: an act added in between must see the new ones.
        this.#notify("saved", record, answer);
        this.#finish(record, answer);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (passes(error)) {
          this.problem = error;
          this.#notify("changed");
          tries += 1;
          const woken = new Promise((resolve) => (this.#wake = resolve));
          const seconds = error.retryAfterS ?? Math.min(MAX_RETRY_S, RETRY_S * 2 ** Math.min(tries, 4));
          await Promise.race([wait(seconds), tries < 2 ? woken : wait(seconds)]);
          this.#wake = null;
        } else {
          this.#notify("refused", record, error);
          this.#finish(record, { saved: [], conflicts: [] });
        }
      }
    }
    this.#sending = false;
    this.#notify("changed");
  }

  /** Remove a record, and update the revisions of the records behind it. */
  #finish(record, { saved }) {
    this.records.shift();
    const revisions = new Map(saved.map(({ picture, revision }) => [picture, revision]));
    const renewed = new Map();
    for (const later of this.records) {
      if (later.project !== record.project || !later.decisions?.some(({ picture }) => revisions.has(picture))) continue;
      for (const decision of later.decisions) decision.revision = revisions.get(decision.picture) ?? decision.revision;
      renewed.set(later.id, later);
    }
    this.#write((store) => {
      const keyOf = (id, use) => {
        store.index("id").getKey(id).onsuccess = ({ target }) => target.result !== undefined && use(target.result);
      };
      keyOf(record.id, (key) => store.delete(key));
      for (const later of renewed.values()) keyOf(later.id, (seq) => store.put({ ...later, seq }));
    });
    this.#notify("changed");
  }

  #notify(event, ...values) {
    for (const listener of [...this.#listeners]) listener[event]?.(...values);
  }
}

function sendOne({ id, project, decisions, undoes }) {
  if (undoes) return post(`/api/projects/${project}/undo`, { act: undoes, id });
  return post(`/api/projects/${project}/decisions`, { act: id, decisions });
}

export const outbox = new Outbox();
