// The answers as a sortable table.

import { element } from "./card.js";
import { explanation, percent, verdict, words } from "./words.js";

const score = (item) => item.answer?.score ?? -1;
const own = (item) => (item.answer && !item.answer.faces ? item.answer : null);
const remark = (item) => (item.state === "failed" || item.answer?.faces ? explanation(item) : "");
const COLUMNS = [
  { name: "Picture", text: (item) => item.path },
  { name: "Answer", text: verdict },
  { name: "Likeliest", text: (item) => (own(item) ? words(item.answer.label) : "") },
  { name: "Sure", text: (item) => (own(item) ? percent(item.answer.score) : ""), by: score },
  { name: "Remark", text: remark },
];

export class Table {
  #by = null;
  #down = false;

  constructor(root) {
    this.root = root;
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
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const column of COLUMNS) {
      const cell = element("th");
      cell.scope = "col";
      const sorts = this.#by === column;
      cell.setAttribute("aria-sort", sorts ? (this.#down ? "descending" : "ascending") : "none");
      const button = element("button", "", column.name);
      button.type = "button";
      button.addEventListener("click", () => this.#sortBy(column));
      cell.append(button);
      head.append(cell);
    }
    const body = table.createTBody();
    for (const item of this.sorted(items)) {
      const row = body.insertRow();
      row.dataset.state = item.state;
      for (const { text } of COLUMNS) row.insertCell().textContent = text(item);
    }
    const focused = this.root.contains(document.activeElement) && document.activeElement.textContent;
    this.root.replaceChildren(table);
    if (!focused) return;
    [...head.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
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
