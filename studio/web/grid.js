// A grid of any number of pictures, with elements only for those near the view.

import { thumbnail } from "./api.js";
import { hasLabelIssue } from "./labelling.js";
import { element } from "./shared/dom.js";
import { LEFT_OUT, labelName } from "./words.js";

const MAX_CELLS = 400;
const OVERSCAN_ROWS = 2;
// The other cells follow in the next frames: style, layout, paint and the requests for pictures take
// as long as what a frame changes, and 64 cells at once took 50 ms and more on a slow machine.
const CELLS_PER_FRAME = 8;
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
  #stale = new Set(); // indices whose cell shows less than is known
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
    for (const index of [...this.#cells.keys()]) this.#release(index);
    for (const cell of this.#free) hide(cell);
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
    for (const index of this.#cells.keys()) if (!wanted || wanted.has(this.ids[index])) this.#stale.add(index);
    if (this.#stale.delete(this.active)) this.#fill(this.#cells.get(this.active), this.active);
    this.#later();
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

  /** Create and fill some of the cells in and near the view, remove the others, and request their pictures. */
  #draw() {
    const { scrollTop, clientHeight } = this.root;
    if (Math.abs(scrollTop - this.#lastTop) >= 2 * clientHeight) {
      clearTimeout(this.#calm);
      this.#calm = setTimeout(() => {
        this.#calm = 0;
        this.#draw();
      }, CALM_MS);
    }
    this.#lastTop = scrollTop;
    const visibleRows = Math.ceil(clientHeight / this.#rowHeight) + 1;
    const rows = Math.max(1, Math.min(visibleRows + 2 * OVERSCAN_ROWS, Math.floor(MAX_CELLS / this.#columns)));
    const top = Math.floor(scrollTop / this.#rowHeight);
    const from = Math.max(0, top - OVERSCAN_ROWS) * this.#columns;
    const to = Math.min(this.ids.length, from + rows * this.#columns);
    for (const index of [...this.#cells.keys()]) if (index < from || index >= to) this.#release(index);
    this.#fillSome(from, Math.min(to, top * this.#columns), to);
    if (!this.#calm) this.on.need(this.ids.slice(from, to));
    this.#announceActive();
  }

  /** Fill the cells that need it, at most CELLS_PER_FRAME: the active one, then those from `visible` on, then those above. */
  #fillSome(from, visible, to) {
    const order = [this.active, ...range(visible, to), ...range(from, visible)];
    const wanted = order.filter((index) => index >= from && index < to && (!this.#cells.has(index) || (!this.#calm && this.#stale.has(index))));
    for (const index of wanted.slice(0, CELLS_PER_FRAME)) {
      if (!this.#cells.has(index)) this.#create(index);
      this.#fill(this.#cells.get(index), index, !this.#calm);
      if (this.#calm) this.#stale.add(index);
      else this.#stale.delete(index);
    }
    if (wanted.length > CELLS_PER_FRAME) this.#later();
    else for (const cell of this.#free) hide(cell);
  }

  #create(index) {
    const cell = this.#free.pop() ?? makeCell();
    this.#cells.set(index, cell);
    this.#place(cell, index);
    if (!cell.isConnected) this.space.append(cell);
    cell.hidden = false;
  }

  /** Give a cell back; out of view it stays as it is until it is used again or hidden. */
  #release(index) {
    const cell = this.#cells.get(index);
    cell.removeAttribute("id");
    this.#free.push(cell);
    this.#cells.delete(index);
    this.#stale.delete(index);
  }

  #place(cell, index) {
    const x = (index % this.#columns) * (this.#edge + GAP_PX) + GAP_PX;
    const y = Math.floor(index / this.#columns) * this.#rowHeight + GAP_PX;
    cell.style.transform = `translate(${x}px, ${y}px)`;
  }

  #fill(cell, index, withPicture = true) {
    const picture = this.on.picture(this.ids[index]);
    write(cell, "data-index", index);
    write(cell, "id", `cell-${index}`);
    write(cell, "aria-posinset", index + 1);
    write(cell, "aria-setsize", this.ids.length);
    const [image, label, mark] = cell.children;
    if (picture && withPicture) {
      const source = thumbnail(picture.sha256);
      if (image.getAttribute("src") !== source) {
        image.removeAttribute("src"); // else the picture before stays until this one is loaded
        image.setAttribute("src", source);
      }
    } else image.removeAttribute("src");
    const name = picture ? labelName(picture.label) : "…";
    if (label.textContent !== name) label.textContent = name;
    write(cell, "data-state", !picture ? "loading" : picture.label === LEFT_OUT ? "out" : picture.label === null ? "none" : "labelled");
    cell.classList.toggle("judged", Boolean(picture?.judged));
    cell.classList.toggle("pending", Boolean(picture?.pending));
    const remark = remarkOf(picture);
    if (mark.textContent !== remark) mark.textContent = remark;
    write(cell, "aria-label", picture ? [name, remark && `(${remark})`, picture.name, picture.judged && "looked at"].filter(Boolean).join(", ") : "loading");
    this.#mark(index);
  }

  #mark(index) {
    const cell = this.#cells.get(index);
    if (!cell) return;
    cell.classList.toggle("active", index === this.active);
    write(cell, "aria-selected", this.chosen.size ? this.chosen.has(index) : index === this.active);
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

const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, n) => from + n);

/** Set an attribute, unless it has the value. */
function write(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Take a cell that shows no picture any more out of the view and of the tree for screen readers. */
function hide(cell) {
  if (cell.hidden) return;
  cell.hidden = true;
  cell.className = "cell";
  for (const name of ["data-state", "data-index"]) cell.removeAttribute(name);
  cell.querySelector("img").removeAttribute("src");
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
