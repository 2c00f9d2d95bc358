// Labels and figures as a person reads them.

export { bytes, count, duration, listed, percent, when } from "./shared/words.js";
import { percent } from "./shared/words.js";

export const LEFT_OUT = "-";
const POINT_DIGITS = 1;

/** Return a label as it is shown: null is unlabelled, "-" is left out. */
export function labelName(label) {
  if (label === null || label === undefined) return "no label";
  return label === LEFT_OUT ? "left out" : isolated(label);
}

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** Return a name that leaves the order of the words around it alone: Arabic and Hebrew run to the left. */
export const isolated = (name) => (RIGHT_TO_LEFT.test(name) ? `\u2068${name}\u2069` : name);

export const number = (value) => value.toLocaleString("en");

/** Return a difference of shares in points, with its sign: "+0.8", "−1.2", "0.0". */
export function points(difference) {
  const text = Math.abs(100 * difference).toFixed(POINT_DIGITS);
  if (Number(text) === 0) return text;
  return `${difference < 0 ? "−" : "+"}${text}`;
}

/** Return a figure {value, low, high} as "97.5%", or "–" if there is none. */
export function share(figure) {
  const value = typeof figure === "number" ? figure : figure?.value;
  return value === null || value === undefined ? "–" : percent(value);
}

/** Return the interval of a figure as "95.1 to 98.9%", or "". */
export function interval(figure) {
  if (figure?.low === null || figure?.low === undefined) return "";
  return `${(100 * figure.low).toFixed(POINT_DIGITS)} to ${(100 * figure.high).toFixed(POINT_DIGITS)}%`;
}

/** Findings of the data check per picture; `kind` is the filter's name. */
export const FINDINGS = [
  { kind: "label_issue", title: "Maybe the wrong label", help: "The model, trained without this picture, gave another answer." },
  { kind: "conflict", title: "In two classes", help: "The same picture has two labels: choose the right one." },
  { kind: "copies", title: "Copies", help: "The same picture, or a near-duplicate, is here more than once." },
  { kind: "dark", title: "Dark", help: "Hardly anything is visible." },
  { kind: "blurred", title: "Blurred", help: "It has no sharp edges." },
  { kind: "tiny", title: "Tiny", help: "It has fewer pixels than the model's input." },
  { kind: "odd_shape", title: "Odd shape", help: "It is very long or very narrow." },
];
