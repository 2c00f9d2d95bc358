// Answers as CSV and JSON.

import { decisionOf, threshold } from "./answers.js";
import { truthLabel } from "./corrections.js";
import { csv } from "./shared/save.js";

const SIDES = ["left", "top", "width", "height"]; // a face's box, in pixels of the picture

/** Return the answers as JSON: as the service sent them, with the decision at the chosen threshold. */
export function asJson(items) {
  const entries = items.map((item) => {
    const { index, filename, ...answer } = item.answer ?? {};
    const kept = { ...decided(answer), ...(answer.faces && { faces: answer.faces.map(decided) }) };
    return {
      file: item.path,
      model: item.model?.version ?? null,
      ...(item.answer && { threshold: thresholdOf(item) }),
      ...kept,
      ...(item.truth && { really: truthLabel(item) }),
      ...(item.problem && { error: item.problem }),
    };
  });
  return JSON.stringify(entries, null, 1);
}

/** Return the answers as CSV: a row per picture or face, a column per class. */
export function asCsv(items) {
  const lines = items.flatMap((item) =>
    item.answer?.faces?.length ? item.answer.faces.map((answer) => ({ ...item, answer })) : [item],
  );
  const faces = items.some((item) => item.answer?.faces);
  const labels = [...new Set(lines.flatMap((line) => Object.keys(line.answer?.scores ?? {})))];
  const rows = lines.map((line) => {
    const { path, model, answer, problem } = line;
    return [
      path,
      ...(faces ? SIDES.map((side) => answer?.box?.[side] ?? "") : []),
      answer?.label ? decisionOf(answer) : "",
      answer?.label ?? "",
      answer?.score ?? "",
      answer?.familiar ?? "",
      ...labels.map((label) => answer?.scores?.[label] ?? ""),
      model?.version ?? "",
      answer ? thresholdOf(line) : "",
      truthLabel(line),
      answer?.faces ? "No face was found." : problem?.detail ?? "",
    ];
  });
  const scores = labels.map((label) => `score ${label}`);
  const head = ["file", ...(faces ? SIDES : []), "decision", "label", "score", "familiar", ...scores, "model", "threshold", "really", "error"];
  return csv([head, ...rows]);
}

const thresholdOf = (item) => threshold.chosen ?? item.threshold ?? "";

function decided({ activation, ...answer }) {
  return answer.label === undefined ? answer : { ...answer, decision: decisionOf(answer) };
}
