// The answers as a sortable table.

import { UNFAMILIAR, answersOf, decisionOf, explanation, nameOf, sure, verdict } from "./answers.js";
import { stateOf } from "./card.js";
import { truthName, verdictOf } from "./corrections.js";
import { button, element } from "./shared/dom.js";

const own = (item) => (item.answer && !item.answer.faces ? item.answer : null);
const score = (item) => own(item)?.score ?? -1;
const strange = (item) => item.answer && answersOf(item).filter((answer) => decisionOf(answer) === UNFAMILIAR).length;
const distance = (item) => Math.max(-1, ...(item.answer ? answersOf(item).map((answer) => answer.distance ?? -1) : []));

function familiar(item) {
  if (!item.answer || answersOf(item).every((answer) => (answer.familiar ?? null) === null)) return "";
  if (!item.answer.faces) return strange(item) ? "no" : "yes";
  return strange(item) ? `${strange(item)} of ${item.answer.faces.length} not` : "yes";
}

function answerOf(item) {
  if (item.state !== "answered" || item.answer.faces) return verdict(item);
  return decisionOf(item.answer) === UNFAMILIAR ? nameOf(`=${UNFAMILIAR}`) : decisionOf(item.answer);
}

const COLUMNS = [
  { name: "Picture", text: (item) => item.path, link: true },
  { name: "Answer", text: answerOf },
  { name: "Likeliest", text: (item) => own(item)?.label ?? "" },
  { name: "Score", text: (item) => (own(item) ? sure(item.answer.score) : ""), by: score },
  { name: "Familiar", text: familiar, by: (item) => -distance(item) },
  { name: "Is really", text: truthName },
  { name: "Remark", text: (item) => (item.state === "failed" || item.answer?.faces ? explanation(item) : "") },
];

export class Table {
  #by = null;
  #down = false;

  /** `open` shows an item in large. */
  constructor(root, open) {
    this.root = root;
    this.open = open;
  }

  /** Return the items in the chosen order; by default, as they were added. */
  sorted(items) {
    if (!this.#by) return items;
    const { text, by = text } = this.#by;
    const sign = this.#down ? -1 : 1;
    return [...items].sort((a, b) => sign * compare(by(a), by(b)));
  }

  show(items) {
    this.items = items;
    const head = element("tr", {}, ...COLUMNS.map((column) => this.#heading(column)));
    const rows = this.sorted(items).map((item) =>
      element("tr", { dataset: { state: stateOf(item), truth: verdictOf(item) } }, ...COLUMNS.map((column) => this.#cell(column, item))),
    );
    const focused = this.root.contains(document.activeElement) && document.activeElement.textContent;
    this.root.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
    if (focused) [...this.root.querySelectorAll("button")].find(({ textContent }) => textContent === focused)?.focus();
  }

  #heading(column) {
    const order = this.#by === column ? (this.#down ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", "aria-sort": order }, button(column.name, () => this.#sortBy(column)));
  }

  #cell({ text, link }, item) {
    const cell = element("td");
    if (link) cell.append(button(text(item), () => this.open(item), { class: "link" }));
    else cell.textContent = text(item);
    return cell;
  }

  #sortBy(column) {
    this.#down = this.#by === column && !this.#down;
    this.#by = column;
    this.show(this.items);
  }
}

function compare(a, b) {
  if (typeof a === "number") return a - b;
  return a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" });
}
