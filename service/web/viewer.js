// The large view of a picture: boxes, map, all scores, its true class, and code for the same request.

import { explanation, verdict } from "./answers.js";
import { stateOf } from "./card.js";
import { truthField } from "./corrections.js";
import { Overlay } from "./overlay.js";
import { scoresOf } from "./scores.js";
import { hasKey } from "./service.js";
import { open } from "./shared/dialog.js";
import { $, setText, showFacts } from "./shared/dom.js";
import { shortcuts } from "./shared/keyboard.js";
import { bytes, percent } from "./shared/words.js";
import { LANGUAGES, predictAddress } from "./snippets.js";

const COPIED_MS = 2000;

export class Viewer {
  #item = null;
  #truth = null;

  /** `on` has shown(), the items in their order; model(), faces(), and corrected(). */
  constructor(on) {
    this.on = on;
    this.dialog = $("viewer");
    this.overlay = new Overlay($("viewer-frame"));
    $("viewer-image").addEventListener("load", () => this.update());
    $("viewer-image").addEventListener("error", () => $("viewer-frame").classList.add("unshown"));
    $("viewer-before").addEventListener("click", () => this.#step(-1));
    $("viewer-next").addEventListener("click", () => this.#step(1));
    shortcuts(this.dialog, { ArrowLeft: () => this.#step(-1), ArrowRight: () => this.#step(1) });
    $("viewer-fade").addEventListener("input", () => this.#fade());
    for (const radio of document.querySelectorAll("input[name=language]")) {
      radio.addEventListener("change", () => this.#showCode());
    }
    $("viewer-copy").addEventListener("click", () => this.#copy());
    new ResizeObserver(() => this.#item && this.#draw()).observe($("viewer-frame"));
  }

  /** Open an item; it closes by Escape, by its button, and by a click beside it. */
  async open(item) {
    this.#show(item);
    await open(this.dialog);
    const { card } = this.#item;
    this.#item = null;
    $("viewer-image").removeAttribute("src");
    if (card?.root.checkVisibility()) card.frame.focus();
  }

  /** Show what has changed of the open item. */
  update() {
    const item = this.#item;
    if (!item) return;
    const shown = this.on.shown();
    const at = shown.indexOf(item);
    setText($("viewer-index"), at < 0 ? "" : `${at + 1} of ${shown.length}`);
    $("viewer-before").disabled = at <= 0;
    $("viewer-next").disabled = at < 0 || at + 1 >= shown.length;
    this.dialog.dataset.state = stateOf(item);
    setText($("viewer-verdict"), verdict(item));
    setText($("viewer-explanation"), explanation(item));
    $("viewer-scores").replaceChildren(...scoresOf(item.answer, { all: true }));
    this.#truth.update(this.on.model()?.labels ?? []);
    this.#draw();
    this.#showFacts();
    this.#showCode();
  }

  #show(item) {
    this.#item = item;
    setText($("viewer-name"), item.path);
    this.#truth = truthField(item, this.on.corrected);
    $("viewer-truth").replaceChildren(this.#truth.root);
    $("viewer-frame").classList.remove("unshown");
    $("viewer-image").src = item.card.url;
    this.update();
  }

  #step(by) {
    const shown = this.on.shown();
    const next = shown[shown.indexOf(this.#item) + by];
    if (next) this.#show(next);
  }

  #draw() {
    const { naturalWidth: width, naturalHeight: height } = $("viewer-image");
    this.overlay.draw(this.#item.answer, { width, height });
    $("viewer-fade-field").hidden = !this.overlay.hasMap;
    this.#fade();
  }

  #fade() {
    $("viewer-frame").style.setProperty("--fade", $("viewer-fade").value / 100);
  }

  #showFacts() {
    const { file, answer, model } = this.#item;
    const { naturalWidth: width, naturalHeight: height } = $("viewer-image");
    showFacts($("viewer-facts"), {
      ...(width && { Size: `${width.toLocaleString("en")} × ${height.toLocaleString("en")} pixels, ${bytes(file.size)}` }),
      ...(typeof answer?.distance === "number" && {
        "Distance from the training pictures": `${answer.distance.toFixed(3)}, ${answer.familiar ? "familiar" : "unfamiliar"}`,
      }),
      ...(this.#item.threshold !== undefined && { "“Uncertain” below": percent(this.#item.threshold) }),
      ...(model && { Model: model.version }),
    });
  }

  #showCode() {
    const { value } = document.querySelector("input[name=language]:checked");
    const name = this.#item.path.split("/").pop();
    const address = predictAddress({ faces: this.on.faces() });
    setText($("viewer-code"), LANGUAGES[value]({ name, address, hasKey: hasKey() }));
  }

  async #copy() {
    const before = $("viewer-copy").textContent;
    const text = $("viewer-code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      setText($("viewer-copy"), "Copied");
    } catch {
      // Without HTTPS there is no clipboard: the code is marked, for Ctrl+C.
      getSelection().selectAllChildren($("viewer-code"));
      setText($("viewer-copy"), "Press Ctrl+C");
    }
    setTimeout(() => setText($("viewer-copy"), before), COPIED_MS);
  }
}
