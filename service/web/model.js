// The model being served: polled, described, and announced when it changes.

import { health } from "./service.js";
import { $, setText, showFacts } from "./shared/dom.js";
import { Problem } from "./shared/http.js";
import { count, listed, percent } from "./shared/words.js";

const POLL_MS = 10_000;
const SHOWN_LABELS = 6;

export class Model {
  current = null; // the model of GET /health
  faces = false; // true if the service can find faces
  #asking = null;

  /** `on` has serving(model), changed(model), lost(problem) and key(problem). */
  constructor(on) {
    this.on = on;
    setInterval(() => document.hidden || this.ask(), POLL_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
  }

  /** Poll once; never two requests at a time. */
  ask() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** Read the model of an answer, which reveals a change before the next poll. */
  heard({ version }) {
    if (version !== this.current?.version) this.ask();
  }

  async #ask() {
    let answer;
    try {
      answer = await health();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) this.on.key(error);
      else this.on.lost(error);
      return;
    }
    const { status, model, refused, faces } = answer;
    this.faces = faces;
    const before = this.current;
    this.current = model;
    this.#show(status, model, refused);
    if (model) this.on.serving(model);
    if (model && before && model.version !== before.version) this.on.changed(model);
  }

  #show(status, model, refused) {
    $("model-details").hidden = !model;
    $("report").hidden = !model?.report;
    $("open-model-card").hidden = !model?.card;
    if (!model) {
      const reason = refused ? ` ${refused.reason}` : "";
      setText($("model-line"), status === "loading" ? "The model is being loaded." : "No model is ready yet.");
      setText($("model-accuracy"), `Pictures wait here until a model is ready.${reason}`);
      return;
    }
    const { labels, pictures, balanced_accuracy: accuracy, balanced_accuracy_interval_95: interval } = model;
    const range = interval && pictures ? ` (${interval.map(percent).join(" to ")} with 95% certainty, from ${count(pictures, "picture")})` : "";
    const named = labels.map((label) => `“${label}”`);
    setText($("model-line"), `It tells ${listed(named, SHOWN_LABELS)} apart.`);
    setText($("model-accuracy"), accuracy === null ? "" : `In its tests it was right ${percent(accuracy)} of the time${range}.`);
    showFacts($("model-facts"), {
      "Can answer": named.join(", "),
      "Uncertain below a score of": percent(model.threshold),
      "Right in its tests": accuracy === null ? "not measured" : `${percent(accuracy)}${range}; each class counts alike (balanced accuracy)`,
      Made: new Date(model.created_at).toLocaleString("en", { dateStyle: "long", timeStyle: "short" }),
      Version: model.version,
      "Built on": model.backbone,
      ...(refused && { "Newer one refused": refused.reason }),
    });
  }
}

/** Return the sentence that announces another model: a new one, or an earlier one again. */
export function changeSentence(older) {
  const time = new Date().toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
  const left = older ? ` ${count(older, "answer")} below came from the one before.` : "";
  return `Another model has been answering since ${time}.${left}`;
}
