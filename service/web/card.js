// A card: one picture with its answer below.

import { decisionOf, explanation, verdict } from "./answers.js";
import { truthField } from "./corrections.js";
import { Overlay } from "./overlay.js";
import { scoresOf } from "./scores.js";
import { element, setText } from "./shared/dom.js";

/** Return the state that a picture's colours follow: its decision, else how far it is. */
export function stateOf(item) {
  if (item.state !== "answered") return item.state;
  if (item.answer.faces) return "faces";
  const decision = decisionOf(item.answer);
  return decision === item.answer.label ? "decided" : decision;
}

export class Card {
  #drawn = null;

  /** `on` has open(), remove() and corrected(). */
  constructor(item, on) {
    this.item = item;
    this.url = URL.createObjectURL(item.file);
    this.image = element("img", { alt: "", decoding: "async", loading: "lazy", onload: () => this.#paint() });
    this.frame = element("button", { type: "button", class: "frame", "aria-label": `Enlarge ${item.path}`, onclick: on.open }, this.image);
    this.overlay = new Overlay(this.frame);
    this.image.addEventListener("error", () => {
      this.frame.replaceChildren(element("span", { class: "small", text: "This browser cannot show it." }));
    });
    this.image.src = this.url;

    const close = element("button", { type: "button", class: "remove plain", text: "×", "aria-label": `Remove ${item.path}`, onclick: on.remove });
    this.name = element("h3", { class: "name", text: item.path, title: item.path });
    this.verdict = element("p", { class: "verdict" });
    this.explanation = element("p", { class: "explanation" });
    this.scores = element("div", { class: "scores" });
    this.truth = truthField(item, on.corrected);
    this.older = element("p", { class: "older", text: "from the model before" });
    this.root = element(
      "li",
      { class: "card" },
      this.frame,
      element("div", { class: "head" }, this.name, close),
      element("div", { class: "answer" }, this.verdict, this.explanation),
      this.scores,
      this.truth.root,
      this.older,
    );
  }

  /** Show the state of the picture; `model` is the model being served. */
  update(model) {
    const { item } = this;
    this.root.dataset.state = stateOf(item);
    setText(this.verdict, verdict(item));
    setText(this.explanation, explanation(item));
    this.older.hidden = item.state !== "answered" || item.model.version === model?.version;
    this.truth.update(model?.labels ?? []);
    const drawn = item.answer && JSON.stringify([verdict(item), explanation(item), item.model.version]);
    if (this.#drawn === drawn && this.answer === item.answer) return;
    this.#drawn = drawn;
    this.answer = item.answer;
    this.scores.replaceChildren(...scoresOf(item.answer));
    this.#paint();
  }

  dispose() {
    URL.revokeObjectURL(this.url);
    this.root.remove();
  }

  #paint() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    this.overlay.draw(this.item.answer, { width, height });
  }
}
