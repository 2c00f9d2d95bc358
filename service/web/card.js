// A card: one picture with its answer below.

import { boxes, list } from "./faces.js";
import { UNCERTAIN, explanation, percent, verdict, words } from "./words.js";

const BARS_SHOWN = 5;
const MAP_EDGE_PX = 96;
const FACES_EDGE_PX = 384; // a face is a small part of the picture

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Return the rows of bars that a card reserves, so that answers do not shift the layout. */
export function rowsFor(labels) {
  return Math.min(labels.length, BARS_SHOWN) + (labels.length > BARS_SHOWN ? 1 : 0);
}

export class Card {
  constructor(item, remove) {
    this.item = item;
    this.root = element("li", "card");
    this.image = element("img");
    this.image.alt = "";
    this.image.decoding = "async";
    this.image.loading = "lazy";
    this.map = element("canvas");
    this.map.hidden = true;
    this.frame = element("div", "frame");
    this.frame.append(this.image, this.map);
    this.image.addEventListener("load", () => this.#paint());
    this.image.addEventListener("error", () => {
      this.frame.replaceChildren(element("p", "small", "This browser cannot show it."));
    });
    this.url = URL.createObjectURL(item.file);
    this.image.src = this.url;

    const head = element("div", "head");
    const close = element("button", "remove", "×");
    close.type = "button";
    close.setAttribute("aria-label", `Remove ${item.path}`);
    close.addEventListener("click", remove);
    const name = element("h3", "name", item.path);
    name.title = item.path;
    head.append(name, close);

    this.verdict = element("p", "verdict");
    this.explanation = element("p", "explanation");
    this.bars = element("div", "bars");
    this.older = element("p", "older", "from an older model");
    this.root.append(this.frame, head, this.verdict, this.explanation, this.bars, this.older);
  }

  /** Show the state of the picture; `version` is the model being served. */
  update(version) {
    const { item } = this;
    const unsure = item.answer?.decision === UNCERTAIN;
    this.root.dataset.state = unsure ? UNCERTAIN : item.state;
    this.verdict.textContent = verdict(item);
    this.explanation.textContent = explanation(item);
    this.older.hidden = item.state !== "answered" || item.model.version === version;
    if (this.drawn === item.answer) return;
    this.drawn = item.answer;
    const faces = item.answer?.faces;
    this.bars.replaceChildren(...(faces ? list(faces) : item.answer ? bars(item.answer) : []));
    this.#paint();
  }

  dispose() {
    URL.revokeObjectURL(this.url);
    this.root.remove();
  }

  /** Draw boxes and activation maps over the picture, in its aspect ratio. */
  #paint() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    const { answer } = this.item;
    const faces = answer?.faces ?? (answer?.face ? [answer.face] : []);
    this.boxes?.remove();
    this.boxes = faces.length && width ? boxes(faces, { width, height }, this.frame) : null;
    if (this.boxes) this.frame.append(this.boxes);
    const maps = answer?.faces ?? (answer ? [{ ...answer.face, ...answer }] : []);
    this.map.hidden = !width || !maps.some(({ activation }) => activation);
    if (this.map.hidden) return;
    const scale = (maps[0].square ? FACES_EDGE_PX : MAP_EDGE_PX) / Math.max(width, height);
    this.map.width = Math.max(1, Math.round(width * scale));
    this.map.height = Math.max(1, Math.round(height * scale));
    const canvas = this.map.getContext("2d");
    canvas.imageSmoothingQuality = "high";
    for (const { activation, square } of maps) {
      // The model's input is squeezed into a square, so the map spans all of it.
      const given = square ?? { left: 0, top: 0, width, height };
      const edges = [given.left, given.top, given.width, given.height].map((edge) => edge * scale);
      canvas.drawImage(picture(activation), ...edges);
    }
  }
}

/** Draw one pixel per cell: the warmer, the stronger the evidence for the answer. */
function picture({ rows, columns, values }) {
  const cells = new ImageData(columns, rows);
  values.flat().forEach((value, index) => {
    cells.data.set([255, 190 - 150 * value, 30, 235 * value], 4 * index);
  });
  const small = element("canvas");
  small.width = columns;
  small.height = rows;
  small.getContext("2d").putImageData(cells, 0, 0);
  return small;
}

/** Return probability bars of all classes, highest first; many classes are collapsed. */
function bars({ scores, label }) {
  const sorted = Object.entries(scores).sort(([, a], [, b]) => b - a);
  const rows = sorted.map(([name, score]) => {
    const row = element("li", name === label ? "best" : "");
    const track = element("span", "track");
    const fill = element("span", "fill");
    fill.style.setProperty("inline-size", `${100 * score}%`);
    track.append(fill);
    row.append(element("span", "class", words(name)), element("span", "share", percent(score)), track);
    return row;
  });
  const first = element("ul");
  first.append(...rows.slice(0, BARS_SHOWN));
  if (rows.length <= BARS_SHOWN) return [first];
  const more = element("details");
  const rest = element("ul");
  rest.append(...rows.slice(BARS_SHOWN));
  more.append(element("summary", "", `${rows.length - BARS_SHOWN} more classes`), rest);
  return [first, more];
}
