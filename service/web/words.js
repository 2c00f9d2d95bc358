// Texts of the page.

export const UNCERTAIN = "uncertain";

/** Return a class's name with spaces instead of underscores. */
export function words(label) {
  return label.replaceAll("_", " ").trim() || label;
}

/** 0.978 -> "97.8%"; never 100 or 0 unless it is. */
export function percent(share) {
  const value = 100 * share;
  if (value > 99.9 && value < 100) return "> 99.9%";
  if (value < 0.1 && value > 0) return "< 0.1%";
  return `${value.toFixed(Number.isInteger(value) ? 0 : 1)}%`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Return the answers of an answered picture: its own, or one per face. */
export const answersOf = ({ answer }) => answer.faces ?? [answer];

/** Return the text of one answer: "mask, 97.8% sure". */
export function answerText({ decision, label, score }) {
  if (decision === UNCERTAIN) return `uncertain, likeliest ${words(label)} (${percent(score)})`;
  return `${words(decision)}, ${percent(score)} sure`;
}

/** Return the text of a picture in any state. */
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
      return item.answer.decision === UNCERTAIN ? "Uncertain" : words(item.answer.decision);
  }
}

/** Return the sentence below the verdict. */
export function explanation(item) {
  if (item.state === "failed") return item.problem.detail;
  if (item.state !== "answered") return "";
  if (item.answer.faces) return facesText(item.answer);
  const { decision, label, score, familiar } = item.answer;
  if (familiar === false) {
    return `Unfamiliar picture: ${percent(score)} ${words(label)} may mean nothing.`;
  }
  if (decision !== UNCERTAIN) return `${percent(score)} sure`;
  return `Likeliest is ${words(label)}, but ${percent(score)} is too little to say so.`;
}

/** Return the count of faces by answer: "2 mask, 1 uncertain". */
function facesText({ faces, faces_left_out: leftOut }) {
  if (!faces.length) return "No face was found in it.";
  const counts = new Map();
  for (const { decision } of faces) counts.set(decision, (counts.get(decision) ?? 0) + 1);
  const parts = [...counts].map(([decision, number]) => `${number} ${words(decision)}`);
  if (leftOut) parts.push(`${leftOut} more not asked about`);
  return parts.join(", ");
}
