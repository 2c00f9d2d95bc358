// What is drawn over a picture: boxes of faces, the part that was classified, activation maps.

import { UNFAMILIAR, decisionOf, partOf } from "./answers.js";
import { element, svg } from "./shared/dom.js";

const MAP_EDGE_PX = 96;
const PARTS_EDGE_PX = 384; // of a map over a small part of the picture
const NUMBER_PX = 13;

export class Overlay {
  #boxes = null;

  /** `frame` is the positioned element that holds the picture. */
  constructor(frame) {
    this.frame = frame;
    this.map = element("canvas", { hidden: true });
    frame.append(this.map);
  }

  /** True if there is a map to fade in. */
  get hasMap() {
    return !this.map.hidden;
  }

  /** Draw one picture's answer, or nothing; `size` is the upright picture's, in pixels. */
  draw(answer, { width, height }) {
    this.#boxes?.remove();
    this.#boxes = null;
    this.map.hidden = true;
    if (!answer || !width) return;
    this.#drawBoxes(answer, width, height);
    this.#drawMap(answer, width, height);
  }

  /** Draw boxes in the picture's pixels; those of faces have the numbers of their answers. */
  #drawBoxes(answer, width, height) {
    const faces = answer.faces ?? (answer.face ? [answer.face] : []);
    const part = faces.length ? null : partOf(answer);
    if (!faces.length && !part) return;
    // One screen pixel in picture pixels.
    const pixel = Math.max(width / this.frame.clientWidth, height / this.frame.clientHeight);
    const groups = faces.map((face, index) => boxOf(face, answer.faces ? `${index + 1}` : "", pixel));
    if (part) groups.push(boxOf({ box: part }, "", pixel));
    this.#boxes = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "boxes", "aria-hidden": "true" }, ...groups);
    this.frame.append(this.#boxes);
  }

  #drawMap(answer, width, height) {
    const parts = (answer.faces ?? [answer]).filter(({ activation }) => activation);
    if (!parts.length) return;
    const edge = parts.some(partOf) ? PARTS_EDGE_PX : MAP_EDGE_PX;
    const scale = edge / Math.max(width, height);
    this.map.width = Math.max(1, Math.round(width * scale));
    this.map.height = Math.max(1, Math.round(height * scale));
    const canvas = this.map.getContext("2d");
    canvas.imageSmoothingQuality = "high";
    for (const part of parts) {
      // The model's input is squeezed into a square, so the map spans all of it.
      const given = partOf(part) ?? { left: 0, top: 0, width, height };
      const edges = [given.left, given.top, given.width, given.height].map((side) => side * scale);
      canvas.drawImage(picture(part.activation), ...edges);
    }
    this.map.hidden = false;
  }
}

function boxOf({ box, ...answer }, number, pixel) {
  const edge = { x: box.left, y: box.top, width: box.width, height: box.height };
  const strange = answer.label !== undefined && decisionOf(answer) === UNFAMILIAR;
  const group = svg("g", { class: strange ? "strange" : null }, svg("rect", { ...edge, class: "under" }), svg("rect", edge));
  if (!number) return group;
  const size = NUMBER_PX * pixel;
  const plateHeight = 1.35 * size; // above the box if it fits
  const plate = { x: edge.x, y: Math.max(0, edge.y - plateHeight), width: size * (0.7 + 0.6 * number.length), height: plateHeight };
  group.append(
    svg("rect", { ...plate, class: "plate" }),
    svg("text", { x: plate.x + plate.width / 2, y: plate.y + size * 1.05, "font-size": size, text: number }),
  );
  return group;
}

/** Draw one pixel per cell: the warmer, the stronger the evidence for the answer. */
function picture({ rows, columns, values }) {
  const cells = new ImageData(columns, rows);
  values.flat().forEach((value, index) => {
    cells.data.set([255, 190 - 150 * value, 30, 235 * value], 4 * index);
  });
  const small = element("canvas", { width: columns, height: rows });
  small.getContext("2d").putImageData(cells, 0, 0);
  return small;
}
