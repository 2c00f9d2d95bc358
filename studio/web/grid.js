// A grid of any number of pictures, with elements only for those near the view.

import { thumbnail } from "./api.js";
import { hasLabelIssue } from "./labelling.js";
import { element } from "./shared/dom.js";
import { LEFT_OUT, labelName } from "./words.js";

const MAX_CELLS = 400;
const OVERSCAN_ROWS = 2;
const GAP_PX = 8;
const CAPTION_PX = 30;
const EDGE_PX = { narrow: 104, wide: 148 }; // least edge of a cell, by the width of the grid
const NARROW_PX = 640;
const CALM_MS = 80; // pause in scrolling after which pictures are fetched

/**
 * A list box of cells in rows; scrolls by itself, moves by arrows, chooses by click and Shift.
 *
 * `on` has need(ids), chosen(), open(index) and picture(id), which returns the picture or undefined.
 */
export class Grid {
  ids = [];
  active = -1;
  chosen = new Set(); // indices
  #anchor = -1;
  #cells = new Map(); // index -> element
  #free = [];
  #columns = 1;
  #edge = EDGE_PX.wide;
  #frame = 0;
  #calm = 0;
  #lastTop = 0;

  constructor(host, on) {
    this.on = on;
    this.space = element("div", { class: "grid-space", role: "presentation" });
    this.root = element(
      "div",
      { class: "grid", role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-label": "Pictures", "aria-describedby": "grid-help" },
      this.space,
    );
    host.append(this.root);
    this.root.addEventListener("scroll", () => this.#later(), { passive: true });
    this.root.addEventListener("pointerdown", (event) => event.target.closest(".cell") && event.shiftKey && event.preventDefault());
    this.root.addEventListener("click", (event) => this.#clicked(event));
    this.root.addEventListener("dblclick", (event) => event.target.closest(".cell") && this.on.open(this.active));
    this.root.addEventListener("focus", () => this.active < 0 && this.ids.length && this.move(0));
    this.observer = new ResizeObserver(() => this.#layout());
    this.observer.observe(this.root);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#calm);
    this.root.remove();
  }

  /** Show other pictures, from the top. */
  show(ids) {
    this.ids = ids;
    this.active = ids.length ? 0 : -1;
    this.#anchor = this.active;
    this.chosen.clear();
    for (const cell of this.#cells.values()) this.#release(cell);
    this.#cells.clear();
    this.root.scrollTop = 0;
    this.#layout();
    this.on.chosen();
  }

  /** Return the ids that an act applies to: the chosen ones, else the active one. */
  get targets() {
    if (this.chosen.size) return [...this.chosen].sort((a, b) => a - b).map((index) => this.ids[index]);
    return this.active >= 0 ? [this.ids[this.active]] : [];
  }

  /** Draw the cells of some pictures again; null: all that exist. */
  refresh(ids = null) {
    const wanted = ids && new Set(ids);
    for (const [index, cell] of this.#cells) if (!wanted || wanted.has(this.ids[index])) this.#fill(cell, index);
  }

  /** Make a cell the active one; with `extend` everything from the anchor on is chosen. */
  move(index, { extend = false } = {}) {
    if (!this.ids.length) return;
    const before = this.active;
    this.active = Math.max(0, Math.min(this.ids.length - 1, index));
    const had = [...this.chosen];
    this.chosen.clear();
    if (extend) {
      if (this.#anchor < 0) this.#anchor = before;
      const [from, to] = [Math.min(this.#anchor, this.active), Math.max(this.#anchor, this.active)];
      for (let at = from; at <= to; at += 1) this.chosen.add(at);
    } else this.#anchor = this.active;
    this.#reveal(this.active);
    this.#draw();
    for (const at of [before, this.active, ...had, ...this.chosen]) this.#mark(at);
    this.on.chosen();
  }

  /** True if at least half of the active picture is in view. */
  get showsActive() {
    const middle = Math.floor(this.active / this.#columns) * this.#rowHeight + this.#rowHeight / 2;
    const { scrollTop, clientHeight } = this.root;
    return middle >= scrollTop && middle <= scrollTop + clientHeight;
  }

  /** Go to the picture after the last decision. */
  advance() {
    const last = this.chosen.size ? Math.max(...this.chosen) : this.active;
    this.move(last + 1);
  }

  toggle(index) {
    if (!this.chosen.delete(index)) this.chosen.add(index);
    const before = this.active;
    this.active = this.#anchor = index;
    for (const at of [before, index]) this.#mark(at);
    this.on.chosen();
  }

  chooseAll() {
    this.chosen = new Set(this.ids.keys());
    for (const index of this.#cells.keys()) this.#mark(index);
    this.on.chosen();
  }

  chooseNone() {
    const had = [...this.chosen];
    this.chosen.clear();
    for (const index of had) this.#mark(index);
    this.on.chosen();
  }

  /** Move to a picture, if it is shown here. */
  find(id) {
    const index = this.ids.indexOf(id);
    if (index >= 0) this.move(index);
    return index >= 0;
  }

  get columns() {
    return this.#columns;
  }

  get pageRows() {
    return Math.max(1, Math.floor(this.root.clientHeight / this.#rowHeight) - 1);
  }

  get #rowHeight() {
    return this.#edge + CAPTION_PX + GAP_PX;
  }

  // --- drawing ----------------------------------------------------------------------------------

  #layout() {
    const width = this.root.clientWidth - GAP_PX;
    if (width <= 0) return;
    const least = width < NARROW_PX ? EDGE_PX.narrow : EDGE_PX.wide;
    this.#columns = Math.max(1, Math.floor(width / (least + GAP_PX)));
    this.#edge = Math.floor(width / this.#columns) - GAP_PX;
    const rows = Math.ceil(this.ids.length / this.#columns);
    this.space.style.blockSize = `${rows * this.#rowHeight + GAP_PX}px`;
    this.space.style.setProperty("--edge-px", `${this.#edge}px`);
    for (const [index, cell] of this.#cells) this.#place(cell, index);
    this.#draw();
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** Create the cells in and near the view, remove the others, and request their pictures. */
  #draw() {
    const { scrollTop, clientHeight } = this.root;
    const moved = Math.abs(scrollTop - this.#lastTop);
    this.#lastTop = scrollTop;
    const visibleRows = Math.ceil(clientHeight / this.#rowHeight) + 1;
    const rows = Math.max(1, Math.min(visibleRows + 2 * OVERSCAN_ROWS, Math.floor(MAX_CELLS / this.#columns)));
    const top = Math.max(0, Math.floor(scrollTop / this.#rowHeight) - OVERSCAN_ROWS);
    const from = top * this.#columns;
    const to = Math.min(this.ids.length, (top + rows) * this.#columns);
    for (const [index, cell] of this.#cells) {
      if (index >= from && index < to) continue;
      this.#release(cell);
      this.#cells.delete(index);
    }
    const calm = moved < 2 * clientHeight;
    for (let index = from; index < to; index += 1) {
      if (this.#cells.has(index)) continue;
      const cell = this.#free.pop() ?? makeCell();
      this.#cells.set(index, cell);
      this.#place(cell, index);
      this.#fill(cell, index, calm);
      if (!cell.isConnected) this.space.append(cell);
      cell.hidden = false;
    }
    clearTimeout(this.#calm);
    const ask = () => {
      for (const [index, cell] of this.#cells) this.#fill(cell, index);
      this.on.need([...this.#cells.keys()].sort((a, b) => a - b).map((index) => this.ids[index]));
    };
    if (calm) this.on.need(this.ids.slice(from, to));
    else this.#calm = setTimeout(ask, CALM_MS);
    this.#announceActive();
  }

  #release(cell) {
    cell.hidden = true;
    cell.className = "cell";
    for (const name of ["id", "data-state", "data-index"]) cell.removeAttribute(name);
    cell.querySelector("img").removeAttribute("src");
    this.#free.push(cell);
  }

  #place(cell, index) {
    const x = (index % this.#columns) * (this.#edge + GAP_PX) + GAP_PX;
    const y = Math.floor(index / this.#columns) * this.#rowHeight + GAP_PX;
    cell.style.transform = `translate(${x}px, ${y}px)`;
  }

  #fill(cell, index, withPicture = true) {
    const picture = this.on.picture(this.ids[index]);
    cell.dataset.index = index;
    cell.id = `cell-${index}`;
    cell.setAttribute("aria-posinset", index + 1);
    cell.setAttribute("aria-setsize", this.ids.length);
    const [image, label, mark] = cell.children;
    if (picture && withPicture) {
      const source = thumbnail(picture.sha256);
      if (image.getAttribute("src") !== source) image.setAttribute("src", source);
    } else if (image.hasAttribute("src")) image.removeAttribute("src");
    const name = picture ? labelName(picture.label) : "…";
    if (label.textContent !== name) label.textContent = name;
    cell.dataset.state = !picture ? "loading" : picture.label === LEFT_OUT ? "out" : picture.label === null ? "none" : "labelled";
    cell.classList.toggle("judged", Boolean(picture?.judged));
    cell.classList.toggle("pending", Boolean(picture?.pending));
    const remark = remarkOf(picture);
    if (mark.textContent !== remark) mark.textContent = remark;
    cell.setAttribute("aria-label", picture ? [name, remark && `(${remark})`, picture.name, picture.judged && "looked at"].filter(Boolean).join(", ") : "loading");
    this.#mark(index);
  }

  #mark(index) {
    const cell = this.#cells.get(index);
    if (!cell) return;
    cell.classList.toggle("active", index === this.active);
    cell.setAttribute("aria-selected", this.chosen.size ? this.chosen.has(index) : index === this.active);
    if (index === this.active) this.#announceActive();
  }

  #announceActive() {
    if (this.#cells.has(this.active)) this.root.setAttribute("aria-activedescendant", `cell-${this.active}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  #reveal(index) {
    const top = Math.floor(index / this.#columns) * this.#rowHeight;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + this.#rowHeight + GAP_PX > scrollTop + clientHeight) this.root.scrollTop = top + this.#rowHeight + GAP_PX - clientHeight;
  }

  #clicked(event) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const index = Number(cell.dataset.index);
    if (event.shiftKey) this.move(index, { extend: true });
    else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") this.toggle(index);
    else if (this.chosen.size === 1 && this.chosen.has(index)) this.chooseNone();
    else {
      this.move(index);
      this.toggle(index);
    }
    this.root.focus({ preventScroll: true });
  }
}

function makeCell() {
  const image = element("img", { alt: "", decoding: "async", draggable: "false" });
  image.addEventListener("error", () => image.classList.add("broken"));
  image.addEventListener("load", () => image.classList.remove("broken"));
  return element("div", { class: "cell", role: "option" }, image, element("span", { class: "cell-label" }), element("span", { class: "cell-mark" }));
}

const REMARKS = { conflict: "two labels", copies: "copy", dark: "dark", blurred: "blurred", tiny: "tiny", odd_shape: "shape" };

/** Return the short remark of a cell; the model's answer is shown only after a decision. */
function remarkOf(picture) {
  if (!picture) return "";
  const { judged, suggestion, label, findings = [] } = picture;
  if (judged && suggestion && suggestion.label !== label && label !== LEFT_OUT) return `model: ${labelName(suggestion.label)}`;
  if (judged) return "✓";
  if (hasLabelIssue(picture)) return "label?";
  return findings.length ? (REMARKS[findings[0].kind] ?? "!") : "";
}
