// The threshold between a class and "uncertain", tried out on the answers on the page.

import { UNCERTAIN, UNFAMILIAR, answersOf, decisionOf, threshold } from "./answers.js";
import { $, setText } from "./shared/dom.js";
import { percent } from "./shared/words.js";

// The slider moves in nines, because most scores are near 1: 0 is 0%, 1 is 90%, 2 is 99%, 4 is 99.99%.
const shareOf = (nines) => 1 - 10 ** -nines;
const ninesOf = (share) => -Math.log10(Math.max(1 - share, 1e-4));
const DIGITS = 4;

let served = null;

/** Connect the slider; `changed` is called after each move. */
export function offerThreshold(changed) {
  $("threshold").addEventListener("input", () => {
    threshold.chosen = Number(shareOf($("threshold").valueAsNumber).toFixed(DIGITS));
    changed();
  });
  $("threshold-reset").addEventListener("click", () => {
    threshold.chosen = null;
    show();
    changed();
    $("threshold").focus();
  });
}

/** Take the threshold that the service answers with. */
export function servedThreshold(value) {
  served = value;
  show();
}

/** Show how many of the answers are a class at the chosen threshold. */
export function showAnswered(items) {
  const answers = items.filter((item) => item.state === "answered").flatMap(answersOf);
  const decided = answers.filter((answer) => ![UNCERTAIN, UNFAMILIAR].includes(decisionOf(answer))).length;
  const verb = threshold.chosen === null ? "answered" : "would be answered";
  const all = answers.length.toLocaleString("en");
  const others = threshold.chosen === null && items.some((item) => item.state === "answered" && item.threshold !== undefined && item.threshold !== served);
  const each = others ? ", each at the threshold of the model that answered" : "";
  setText($("threshold-text"), answers.length ? `${decided.toLocaleString("en")} of ${all} ${verb} with a class${each}` : "");
  show();
}

function show() {
  if (served === null) return;
  const value = threshold.chosen ?? served;
  $("threshold").value = ninesOf(value);
  const text = value > 0.99 ? `${(100 * value).toFixed(2)}%` : percent(value);
  setText($("threshold-value"), text);
  $("threshold").setAttribute("aria-valuetext", text);
  $("threshold-reset").classList.toggle("absent", threshold.chosen === null);
  setText($("threshold-reset"), `Back to ${percent(served)}`);
}
