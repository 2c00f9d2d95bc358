// Events of one job, live: server-sent events, or polling if a proxy holds those back.

import { Problem, get } from "./api.js";

const POLL_MS = 1000;
const SILENT_MS = 12_000; // an open stream that is silent for this long is replaced by polling
export const ENDED = ["done", "failed", "cancelled"];

export class JobFeed {
  job = null; // as GET /api/jobs/{j} returns it
  steps = []; // [{name, title, state: "waiting" | "now" | "done"}]
  step = null;
  progress = null; // the last progress event
  figures = {};
  log = [];
  finished = null;
  failed = null;
  #last = 0;
  #source = null;
  #timer = 0;
  #closed = false;
  #heard = 0;

  /** `changed()` is called after each event, `ended()` once the job is over. */
  constructor(id, changed, ended) {
    Object.assign(this, { id, changed, ended });
    this.#open();
    this.#load();
    this.#timer = setInterval(() => this.#watch(), POLL_MS);
  }

  get state() {
    return this.job?.state ?? "queued";
  }

  get over() {
    return ENDED.includes(this.state);
  }

  close() {
    this.#closed = true;
    this.#source?.close();
    clearInterval(this.#timer);
  }

  #open() {
    this.#source = new EventSource(`/api/jobs/${this.id}/events`);
    this.#source.onmessage = ({ data, lastEventId }) => this.#take({ id: Number(lastEventId), ...JSON.parse(data) });
    // The browser tries again by itself, from the last id; polling bridges the time until then.
  }

  /** Poll while the stream is not open, or silent. */
  async #watch() {
    if (this.#closed || document.hidden) return;
    const open = this.#source?.readyState === EventSource.OPEN;
    if (open && performance.now() - this.#heard < SILENT_MS) return;
    try {
      const { events } = await get(`/api/jobs/${this.id}/events`, { query: { after: this.#last } });
      for (const event of events) this.#take(event);
      await this.#load();
      this.#heard = performance.now();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }

  async #load() {
    try {
      const job = await get(`/api/jobs/${this.id}`);
      if (ENDED.includes(job.state) && !this.#closed) {
        // The last events may be on their way still.
        const { events } = await get(`/api/jobs/${this.id}/events`, { query: { after: this.#last } });
        for (const event of events) this.#take(event);
        if (this.#closed) return;
        this.close();
        this.job = job;
        this.changed();
        this.ended();
        return;
      }
      if (this.#closed) return;
      this.job = job;
      this.changed();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }

  #take(event) {
    // The stream and the polling may bring the same event: ids go up by one.
    if (event.id <= this.#last || this.#closed) return;
    this.#last = event.id;
    this.#heard = performance.now();
    const handle = {
      started: () => (this.steps = (event.steps ?? []).map((step) => ({ ...step, state: "waiting" }))),
      step: () => this.#enter(event),
      progress: () => (this.progress = event),
      figure: () => (this.figures[event.name] = event),
      log: () => this.log.push(event),
      finished: () => {
        this.finished = event;
        for (const step of this.steps) step.state = "done";
      },
      failed: () => (this.failed = event),
      state: () => {
        if (this.job) this.job.state = event.state;
      },
    }[event.event];
    handle?.();
    if (["state", "finished", "failed"].includes(event.event)) queueMicrotask(() => this.#load());
    this.changed();
  }

  #enter(event) {
    this.step = event;
    this.progress = this.progress && { ...this.progress, done: null, total: null };
    const at = this.steps.findIndex(({ name }) => name === event.name);
    this.steps.forEach((step, index) => (step.state = index < at ? "done" : index === at ? "now" : "waiting"));
    if (at < 0) this.steps.push({ name: event.name, title: event.title, state: "now" });
  }
}
