// Faces of a picture: boxes over it, and a list below.

import { answerText } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const NUMBER_PX = 13;

/** Draw numbered boxes in the picture's pixels; the list has their answers. */
export function boxes(faces, { width, height }, frame) {
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "boxes", "aria-hidden": "true" });
  // One screen pixel in picture pixels.
  const pixel = Math.max(width / frame.clientWidth, height / frame.clientHeight);
  faces.forEach(({ box }, index) => {
    const { left: x, top: y } = box;
    const edge = { x, y, width: box.width, height: box.height };
    const size = NUMBER_PX * pixel;
    const plateHeight = 1.35 * size; // above the box if it fits
    const plate = { x, y: Math.max(0, y - plateHeight), width: size * (0.7 + 0.6 * `${index + 1}`.length), height: plateHeight };
    const number = shape("text", { x: x + plate.width / 2, y: plate.y + size * 1.05, "font-size": size });
    number.textContent = index + 1;
    const group = shape("g", {});
    group.append(shape("rect", { ...edge, class: "under" }), shape("rect", edge), shape("rect", { ...plate, class: "plate" }), number);
    drawing.append(group);
  });
  return drawing;
}

/** Return a line per face, numbered as its box. */
export function list(faces) {
  const lines = document.createElement("ol");
  lines.className = "faces";
  for (const face of faces) {
    const line = document.createElement("li");
    line.textContent = answerText(face);
    lines.append(line);
  }
  return faces.length ? [lines] : [];
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
