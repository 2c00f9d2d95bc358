// Labels of a project as one person sees and changes them: at once on the page, then on the server.

import { get, post } from "./api.js";
import { newId, outbox } from "./outbox.js";

const FETCHED_AT_ONCE = 400;
const ACTS_LOOKED_AT = 200;
const MAX_DECISIONS = 10_000; // per act
// Undoing an upload removes pictures: that is done from the list of changes, not by a key.
const KEY_UNDOES = ["label", "labels", "bulk", "decide", "group", "groups", "class", "undo"];

/**
 * The pictures of a project by id, and what was decided in this tab.
 *
 * A picture is as the server returns it; `label` and `judged` are the person's from the moment of
 * the decision, `pending` is the number of acts the server has not answered yet.
 */
export class Labelling {
  pictures = new Map();
  conflicts = [];
  done = []; // acts of this tab that can be undone: {id, before: Map}
  undone = [];
  refusal = null;
  #asked = new Set();
  #search = Promise.resolve(); // for the last act on the server

  /** `changed(ids, loaded)` is called when pictures changed, or were only loaded. */
  constructor(project, changed) {
    Object.assign(this, { project: String(project), changed });
    this.stop = outbox.listen({
      saved: (record, answer) => this.#saved(record, answer),
      refused: (record, problem) => this.#refused(record, problem),
      changed: () => this.changed([]),
    });
  }

  /** Load the pictures among `ids` that are not here yet. */
  load(ids) {
    return this.#fetch(ids.filter((id) => !this.pictures.has(id) && !this.#asked.has(id)));
  }

  /** Load pictures again, for example after another person's change. */
  reload(ids) {
    return this.#fetch(ids);
  }

  async #fetch(missing) {
    for (let at = 0; at < missing.length; at += FETCHED_AT_ONCE) {
      const some = missing.slice(at, at + FETCHED_AT_ONCE);
      for (const id of some) this.#asked.add(id);
      try {
        const { pictures } = await get(`/api/projects/${this.project}/pictures`, { query: { ids: some.join(",") } });
        for (const picture of pictures) this.#take(picture);
      } finally {
        for (const id of some) this.#asked.delete(id);
      }
      this.changed(some, true);
    }
  }

  #take(picture) {
    const waiting = outbox.records.filter(({ project }) => project === this.project);
    const own = waiting.flatMap(({ decisions = [] }) => decisions).filter((decision) => decision.picture === picture.id);
    // A waiting decision in the outbox, of this tab or of a closed one, is the person's latest decision.
    this.pictures.set(picture.id, own.length ? { ...picture, label: own.at(-1).label, judged: true, pending: own.length } : { ...picture, pending: 0 });
  }

  /** Decide the label of pictures: a class, null for none, "-" for left out; the same label confirms. */
  async decide(ids, label) {
    await this.load(ids);
    const known = ids.filter((id) => this.pictures.has(id));
    for (let at = 0; at < known.length; at += MAX_DECISIONS) this.#decide(known.slice(at, at + MAX_DECISIONS), () => label);
  }

  /** Confirm the present labels of pictures that have one. */
  async confirm(ids) {
    await this.load(ids);
    const labelled = ids.filter((id) => this.pictures.get(id)?.label);
    if (labelled.length) this.#decide(labelled, ({ label }) => label);
  }

  #decide(ids, labelOf) {
    const id = newId();
    const before = new Map();
    const decisions = ids.map((picture) => {
      const one = this.pictures.get(picture);
      before.set(picture, { label: one.label, judged: one.judged });
      return { picture, label: labelOf(one), revision: one.revision };
    });
    for (const { picture, label } of decisions) {
      const one = this.pictures.get(picture);
      Object.assign(one, { label, judged: true, pending: one.pending + 1 });
    }
    this.done.push({ id, before, after: new Map(decisions.map(({ picture, label }) => [picture, label])) });
    this.undone = [];
    this.refusal = null;
    outbox.add({ id, project: this.project, decisions });
    this.changed(ids);
  }

  /** Undo the last act that is not undone; resolves with its pictures, or null if there is none. */
  async undo() {
    const act = this.done.pop() ?? (await this.#lastOnServer());
    if (!act) return null;
    const id = newId();
    this.#revert(act.before, ({ label, judged }) => ({ label, judged }));
    this.undone.push({ id, act });
    outbox.add({ id, project: this.project, undoes: act.id });
    return [...act.before.keys()];
  }

  /** Redo the act that was undone last. */
  redo() {
    const last = this.undone.pop();
    if (!last) return null;
    const id = newId();
    this.#revert(last.act.after, (label) => ({ label, judged: true }));
    this.done.push({ ...last.act, id });
    outbox.add({ id, project: this.project, undoes: last.id });
    return [...last.act.before.keys()];
  }

  #revert(values, changeOf) {
    for (const [picture, value] of values) {
      const one = this.pictures.get(picture);
      if (one) Object.assign(one, changeOf(value));
    }
    this.changed([...values.keys()]);
  }

  /** Return the newest act on the server that a key may undo: those before a reload; one at a time. */
  #lastOnServer() {
    this.#search = this.#search.catch(() => {}).then(() => this.#searchActs());
    return this.#search;
  }

  async #searchActs() {
    const { acts } = await get(`/api/projects/${this.project}/acts`, { query: { limit: ACTS_LOOKED_AT } });
    const mine = acts.find(({ act, kind, undone, undoes }) => !undone && !undoes && KEY_UNDOES.includes(kind) && !this.undone.some((one) => one.act.id === act));
    return mine ? { id: mine.act, before: new Map(), after: new Map() } : null;
  }

  /** Undo any act of the list of changes. */
  undoAct(act) {
    outbox.add({ id: newId(), project: this.project, undoes: act });
    this.done = this.done.filter(({ id }) => id !== act);
  }

  /** Settle a conflict: keep the other's label, or set the own one after all. */
  settle(conflict, mine) {
    this.conflicts = this.conflicts.filter((one) => one !== conflict);
    if (mine) this.#decide([conflict.picture], () => conflict.mine);
    else this.changed([conflict.picture]);
  }

  #saved(record, { saved, conflicts = [] }) {
    if (record.project !== this.project) return;
    const later = new Set(outbox.records.slice(1).flatMap(({ decisions = [] }) => decisions.map(({ picture }) => picture)));
    for (const { picture, label, revision } of saved) {
      const one = this.pictures.get(picture);
      if (!one) continue;
      one.revision = revision;
      if (record.decisions) one.pending = Math.max(0, one.pending - 1);
      // A decision that is still waiting is shown; undone and redone ones take the server's label.
      if (!later.has(picture) && !this.#undoWaits()) one.label = label;
    }
    for (const { picture, label, revision, by, at } of conflicts) {
      const one = this.pictures.get(picture);
      const mine = record.decisions?.find((decision) => decision.picture === picture)?.label;
      if (one) Object.assign(one, { label, revision, pending: Math.max(0, one.pending - 1) });
      if (mine !== label) this.conflicts.push({ picture, mine, theirs: label, by, at, name: one?.name ?? `picture ${picture}`, undo: !record.decisions });
    }
    const touched = [...saved, ...conflicts].map(({ picture }) => picture);
    this.changed(touched);
    // Only the server knows the decisions before an undone act.
    if (record.undoes && outbox.records.length < 2) this.reload(touched.filter((id) => this.pictures.has(id)).slice(0, FETCHED_AT_ONCE)).catch(() => {});
  }

  #undoWaits() {
    return outbox.records.slice(1).some(({ undoes, project }) => undoes && project === this.project);
  }

  #refused(record, problem) {
    if (record.project !== this.project) return;
    this.refusal = problem;
    this.done = this.done.filter(({ id }) => id !== record.id);
    const ids = (record.decisions ?? []).map(({ picture }) => picture);
    this.reload(ids.slice(0, FETCHED_AT_ONCE)).catch(() => {});
  }
}

/** Return the pictures' ids for a filter. */
export async function indexOf(project, { label = null, filter = null, order = null }) {
  const { ids } = await get(`/api/projects/${project}/index`, { query: { label, filter, order } });
  return ids;
}

/** True if a training or an audit found that the label may be wrong, and nobody has judged it since. */
export const hasLabelIssue = (picture) => typeof picture?.issue_score === "number" && !picture.judged;
export const addClass = (project, name) => post(`/api/projects/${project}/classes`, { name });
