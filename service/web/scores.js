// Scores of one answer as bars, or of several faces as a list.

import { UNFAMILIAR, answerText, decisionOf, sure } from "./answers.js";
import { element } from "./shared/dom.js";

const SHOWN = 5;

/** Return the rows that a card reserves for bars, so that answers do not shift the layout. */
export function rowsFor(labels) {
  return Math.min(labels.length, SHOWN) + (labels.length > SHOWN ? 1 : 0);
}

/** Return the elements that show an answer's scores; many classes are folded unless `all`. */
export function scoresOf(answer, { all = false } = {}) {
  if (!answer) return [];
  return answer.faces ? faces(answer.faces) : bars(answer, all);
}

/** Return a line per face, numbered as its box. */
function faces(found) {
  if (!found.length) return [];
  return [element("ol", { class: "faces" }, ...found.map((face) => element("li", { text: answerText(face) })))];
}

/** Return bars of all classes, highest first; grey ones if the picture is unfamiliar. */
function bars(answer, all) {
  const sorted = Object.entries(answer.scores).sort(([, a], [, b]) => b - a);
  const isKnown = decisionOf(answer) !== UNFAMILIAR;
  const rows = sorted.map(([name, score]) => {
    const fill = element("span", { class: "fill" });
    fill.style.setProperty("inline-size", `${100 * score}%`);
    return element(
      "li",
      { class: name === answer.label && isKnown ? "best" : null },
      element("span", { class: "class", text: name, title: name }),
      element("span", { class: "share", text: sure(score) }),
      element("span", { class: "track" }, fill),
    );
  });
  const shown = all ? rows.length : SHOWN;
  const first = element("ul", {}, ...rows.slice(0, shown));
  if (rows.length <= shown) return [first];
  const rest = element("ul", {}, ...rows.slice(shown));
  return [first, element("details", {}, element("summary", { text: `${rows.length - shown} more classes` }), rest)];
}
