// The paired test of two models, in plain words.

import { html } from "./htm-preact.js";
import { count, listed, number, points, share } from "./words.js";

const VERDICTS = {
  better: { tone: "good", title: "Better", text: "The new model is better: the difference is too large for chance." },
  "not worse": { tone: "good", title: "Not worse", text: "The new model is at least as good, or so little worse that it does not matter." },
  worse: { tone: "bad", title: "Worse", text: "The new model is worse: keep the one in use." },
  "not shown": { tone: "warn", title: "Not shown", text: "It may be as good, but there are too few pictures, or too many differences, to show it." },
};

const FEWER = { tone: "warn", title: "Fewer answers" };
const MUCH_MORE_OFTEN = "It says “uncertain” much more often than the model in use: keep that one, unless you know why.";

/** Verdict as a notice, with its figures in a fold. */
export function Verdict({ paired, fixed = paired?.fixed, broken = paired?.broken }) {
  if (!paired) return null;
  const found = VERDICTS[String(paired.verdict).replaceAll("_", " ")] ?? VERDICTS["not shown"];
  const { answered } = paired;
  const { tone, title, text } = answered?.fewer && found.tone !== "bad" ? { ...found, ...FEWER } : found;
  const worse = (paired.parts ?? []).filter((part) => part.worse);
  const margin = Math.abs(100 * paired.margin).toFixed(1);
  return html`<div class=${`notice ${tone} verdict`} role="status">
    <h2>${title}</h2>
    ${answered?.fewer && html`<p>${MUCH_MORE_OFTEN}</p>`}
    <p>
      ${text} On the same pictures, none of which they had learned from, it gets ${count(fixed ?? 0, "picture")} right that the other got wrong, and
      ${" "}${count(broken ?? 0, "picture")} wrong that the other got right.
    </p>
    ${answered && html`<p>It gives ${share(answered.new)} of them a class, not “uncertain”; the other ${share(answered.old)}.</p>`}
    ${paired.tests?.n > 0 && html`<p>On the ${count(paired.tests.n, "picture")} kept for checking: ${number(paired.tests.fixed)} fixed, ${number(paired.tests.broken)} broken.</p>`}
    ${worse.length > 0 && html`<p>It is worse for ${listed(worse.map((part) => `${part.name} (${number(part.broken)} broken, ${number(part.fixed)} fixed of ${number(part.n)})`))}.</p>`}
    <details>
      <summary>The figures</summary>
      <p class="small figures">
        Difference ${points(paired.difference)} points, with 90% certainty between ${points(paired.low)} and ${points(paired.high)}. “Not worse” means: certainly not more than ${margin} points worse.
        ${paired.resolution ? ` With this many pictures a loss below ${(100 * Math.abs(paired.resolution)).toFixed(1)} points cannot be seen.` : ""}
        ${paired.n ? ` Compared on ${count(paired.n, "picture")}.` : ""}
      </p>
    </details>
  </div>`;
}
