// Answers as decisions and texts; labels are shown as they are everywhere else.

import { count, percent } from "./shared/words.js";

/** Return a score as per cent: never 100% or 0%, because no picture is certain. */
export const sure = (score) => percent(Math.min(Math.max(score, 1e-6), 1 - 1e-6));

export const UNCERTAIN = "uncertain";
export const UNFAMILIAR = "unfamiliar";
const STRANGE = "Not like anything it was trained on";

/** Threshold chosen on this page; null for the service's. */
export const threshold = { chosen: null };

/** Return the decision of one answer, at the chosen threshold: a class, uncertain or unfamiliar. */
export function decisionOf({ decision, familiar, label, score }) {
  if (familiar === false) return UNFAMILIAR;
  if (threshold.chosen === null) return decision;
  return score >= threshold.chosen ? label : UNCERTAIN;
}

/** Return the answers of an answered picture: its own, or one per face. */
export const answersOf = ({ answer }) => answer.faces ?? [answer];

/** Return an item's kinds for the filter: "=" and a decision, or its state. */
export const kindsOf = (item) =>
  item.state === "answered" ? answersOf(item).map((answer) => `=${decisionOf(answer)}`) : [item.state];

/** Return the name of a kind: "uncertain", "not like anything it was trained on", "mask". */
export function nameOf(kind) {
  if (kind === "failed") return "no answer";
  const decision = kind.slice(1);
  return decision === UNFAMILIAR ? STRANGE.toLowerCase() : decision;
}

/** Return the text of one answer: "mask, 97.8% sure". */
export function answerText(answer) {
  const decision = decisionOf(answer);
  const likeliest = `${answer.label} (${sure(answer.score)})`;
  if (decision === UNFAMILIAR) return `${STRANGE.toLowerCase()}; if anything, ${likeliest}`;
  if (decision === UNCERTAIN) return `uncertain, likeliest ${likeliest}`;
  return `${decision}, ${sure(answer.score)} sure`;
}

/** Return the heading of a picture in any state. */
export function verdict(item) {
  switch (item.state) {
    case "waiting":
      return "Waiting …";
    case "sending":
      return "Asking …";
    case "failed":
      return "No answer";
    default:
      if (item.answer.faces) return count(item.answer.faces.length, "face");
      return headingOf(decisionOf(item.answer));
  }
}

/** Return the heading of a decision. */
export function headingOf(decision) {
  if (decision === UNFAMILIAR) return STRANGE;
  return decision === UNCERTAIN ? "Uncertain" : decision;
}

/** Return the sentence below the heading. */
export function explanation(item) {
  if (item.state === "failed") return item.problem.detail;
  if (item.state !== "answered") return "";
  if (item.answer.faces) return facesText(item.answer);
  return `${sureness(item.answer)}${framingText(item.answer)}`.trim();
}

/** Return the sentence about the score of one answer. */
export function sureness(answer) {
  const decision = decisionOf(answer);
  if (decision === UNFAMILIAR) return `Likeliest: ${answer.label} (${sure(answer.score)}).`;
  if (decision !== UNCERTAIN) return `${sure(answer.score)} sure.`;
  return `Likeliest is ${answer.label}, but ${sure(answer.score)} is below the threshold.`;
}

/** Return the part of a picture that the model was given, if it was not all of it. */
export const partOf = (answer) =>
  answer.square ?? answer.face?.square ?? (answer.framing === "face" ? answer.box : null);

function framingText({ framing, further_faces: further }) {
  if (further) return ` Of ${count(further + 1, "face")}, the main one: “Find faces first” answers for each.`;
  return framing === "face" ? " For the framed face." : "";
}

/** Return the count of faces by answer: "2 mask, 1 uncertain". */
function facesText({ faces, faces_left_out: leftOut }) {
  if (!faces.length) return "No face was found in it.";
  const counts = new Map();
  for (const face of faces) {
    const name = nameOf(`=${decisionOf(face)}`);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const parts = [...counts].map(([name, number]) => `${number} ${name}`);
  if (leftOut) parts.push(`${leftOut} more not classified`);
  return parts.join(", ");
}
