// Screen 5, in use: the live model, its reason and time; switch, go back, try a picture.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./htm-preact.js";
import { Problem, call, get, passes, post, wait } from "./api.js";
import { acceptDrops, fromPicker, fromTransfer } from "./gather.js";
import { confirmed, toast } from "./shared/dialog.js";
import { fail, href, refresh, useStore } from "./store.js";
import { useRuns } from "./results-screen.js";
import { Verdict } from "./verdict.js";
import { count, labelName, percent, share, when } from "./words.js";

const ASKED_AGAIN_S = 0.5;
const TRIED_AT_ONCE = 8;
const CANDIDATE_TRIES = 30; // while the process of the chosen model starts
// Statuses of the service until it answers with the model in use; "ok": it answers with another one.
const STATUS = { ok: "being taken over", no_model: "being taken over", loading: "being loaded", unreachable: "not running" };

export function InUseScreen() {
  const { project, route } = useStore();
  const runs = useRuns(project);
  const [live, setLive] = useState(null);
  const load = () => get("/api/live").then(setLive, fail);
  useEffect(() => void load(), [project.id, project.live?.run]);
  // The service takes a model over within a second, or is starting: ask again until it answers.
  const settled = live && (!live.version || (live.service?.status === "ok" && live.service.version === live.version));
  useEffect(() => {
    if (!live || settled) return undefined;
    const timer = setInterval(() => document.hidden || load(), 1000 * ASKED_AGAIN_S);
    return () => clearInterval(timer);
  }, [live, settled]);
  if (!live || !runs) return html`<p class="muted">Loading the model in use …</p>`;
  const chosenId = Number(route.query.get("run")) || null;
  const chosen = runs.find(({ id }) => id === chosenId && id !== live.run) ?? null;
  const again = () => Promise.all([load(), refresh()]);
  return html`
    <${Served} live=${live} project=${project} runs=${runs} again=${again} />
    ${runs.length > 0 && html`<${Candidate} live=${live} runs=${runs} chosen=${chosen} project=${project} again=${again} />`}
    ${(live.version || chosen) && html`<${Try} chosen=${chosen} live=${live} />`}
    <${History} history=${live.history ?? []} />
  `;
}

function Served({ live, project, runs, again }) {
  const run = runs.find(({ id }) => id === live.run);
  const last = live.history?.[0];
  const back = async () => {
    const sure = await confirmed({ title: "Go back to the model before?", text: "It answers again within a second. The present one stays in the list.", action: "Go back" });
    if (!sure) return;
    try {
      await post("/api/live/rollback", {});
      await again();
      toast("The model before is in use again.");
    } catch (error) {
      fail(error);
    }
  };
  const { service } = live;
  const status = service?.status;
  const up = status === "ok" && service.version === live.version;
  if (!live.version) {
    return html`<section class="panel served" aria-labelledby="served-heading">
      <h2 id="served-heading">No model is in use yet</h2>
      <p>${runs.length ? "Choose one below, and put it to use." : html`<a href=${href("train")}>Train one</a> first.`}</p>
    </section>`;
  }
  return html`<section class="panel served" aria-labelledby="served-heading">
    <h2 id="served-heading">In use: ${run ? html`<a href=${href("results", project.id, `/${run.id}`)}>model ${run.id}</a>` : live.version} <span class=${`tag ${up ? "good" : "warn"}`}>${up ? "answering" : STATUS[status] ?? labelName(status ?? "unknown")}</span></h2>
    <p>
      ${run ? `Right for ${share(run.accuracy)} of pictures that it had not seen. ` : ""}
      ${!run && live.project && live.project !== project.id ? "It belongs to another project. " : ""}
      ${last ? `Since ${when(last.at)}, by ${last.by ?? "somebody"}${last.reason ? `: ${last.reason}` : ""}.` : ""}
    </p>
    ${status === "unreachable" && html`<p class="warn">The service that gives the answers is not running${service?.url ? ` (${service.url})` : ""}. It is started with <code>python -m service</code>.</p>`}
    <div class="buttons start">
      ${service?.url && up && html`<a class="button" href=${service.url} target="_blank" rel="noopener">Open its page</a>`}
      ${(live.history?.length ?? 0) > 1 && html`<button type="button" onClick=${back}>Go back to the model before</button>`}
    </div>
  </section>`;
}

/** Another model: the verdict against the one in use, and the switch. */
function Candidate({ live, runs, chosen, project, again }) {
  const [gate, setGate] = useState(null); // {open, sentence, paired}, or {problem}
  const [reason, setReason] = useState("");
  const others = runs.filter(({ id }) => id !== live.run);
  useEffect(() => {
    setGate(null);
    setReason("");
    if (!chosen) return;
    get("/api/live/gate", { query: { run: chosen.id } }).then(setGate, (error) => setGate({ open: false, problem: error.message }));
  }, [chosen?.id, live.run]);
  if (!others.length) return null;
  const choose = ({ target }) => {
    history.replaceState(null, "", href("in-use", project.id, target.value ? `?run=${target.value}` : ""));
    dispatchEvent(new PopStateEvent("popstate"));
  };
  const use = async (event) => {
    event?.preventDefault();
    try {
      await post("/api/live/promote", { run: chosen.id, reason: reason.trim() || undefined });
      toast(`Model ${chosen.id} is in use now.`);
      await again();
    } catch (error) {
      if (error instanceof Problem && error.code === "gate") setGate({ open: false, sentence: error.message, paired: error.document.paired });
      else fail(error);
    }
  };
  return html`<section class="panel candidate" aria-labelledby="candidate-heading">
    <div class="bar">
      <h2 id="candidate-heading" class="grow">${chosen ? `Switch to model ${chosen.id}?` : "Another model"}</h2>
      <label class="field">Model
        <select value=${chosen?.id ?? ""} onChange=${choose}>
          <option value="">choose …</option>
          ${others.map((run) => html`<option value=${run.id}>Model ${run.id}: ${share(run.accuracy)}</option>`)}
        </select>
      </label>
    </div>
    ${chosen &&
    html`
      ${!gate && html`<p class="muted">Comparing …</p>`}
      ${gate?.paired && html`<${Verdict} paired=${gate.paired} />`}
      ${gate && !gate.paired && html`<p class=${`notice${gate.open ? "" : " warn"}`}>${gate.problem ?? gate.sentence}</p>`}
      ${live.run && gate?.paired && html`<p><a href=${href("compare", project.id, `/${live.run}/${chosen.id}`)}>Which pictures are fixed, which are broken</a></p>`}
      ${gate &&
      (!gate.open
        ? html`<form class="bar" onSubmit=${use}>
            <label class="field grow">Use it all the same, because <input type="text" required maxlength="400" value=${reason} onInput=${({ target }) => setReason(target.value)} /></label>
            <button type="submit">Use model ${chosen.id}</button>
          </form>`
        : html`<div class="buttons start"><button type="button" class="primary" onClick=${use}>Use model ${chosen.id}</button></div>`)}
    `}
  </section>`;
}

// --- try a picture -----------------------------------------------------------------------------------

function Try({ chosen, live }) {
  const [tried, setTried] = useState([]);
  const [over, setOver] = useState(false);
  const [busy, setBusy] = useState("");
  const addresses = useRef([]);
  const latest = useRef(null);
  latest.current = chosen;
  const take = async ({ files }) => {
    const some = files.slice(0, TRIED_AT_ONCE);
    if (!some.length) return;
    try {
      setBusy(files.length > some.length ? `Classifying the first ${some.length} …` : "Classifying …");
      const answer = await ask(some.map(({ file }) => file), latest.current?.id, setBusy);
      const fresh = some.map(({ file, path }, index) => {
        const address = URL.createObjectURL(file);
        addresses.current.push(address);
        return {
          path,
          address,
          live: answer.live?.predictions?.[index] ?? (answer.error_live ? { error: answer.error_live } : null),
          chosen: answer.chosen?.predictions?.[index] ?? (answer.error_chosen ? { error: answer.error_chosen } : null),
          run: answer.chosen?.run ?? null,
        };
      });
      setTried((before) => [...fresh, ...before].slice(0, 40));
    } catch (error) {
      fail(error);
    } finally {
      setBusy("");
    }
  };
  useLayoutEffect(() => acceptDrops(async (transfer) => take(await fromTransfer(transfer)), setOver), []);
  useEffect(() => () => addresses.current.forEach((address) => URL.revokeObjectURL(address)), []);
  return html`<section aria-labelledby="try-heading">
    <div class=${`drop compact${over ? " over" : ""}`}>
      <h2 id="try-heading">Try it: drop a picture here</h2>
      <p role="status">${busy || (chosen && live.version ? `Both answer: the model in use, and model ${chosen.id}.` : "One that it has never seen. It is not kept.")}</p>
      <div class="buttons"><label class="button">Choose a picture<input type="file" accept="image/*,.heic,.heif,.tif,.tiff" multiple onChange=${({ target }) => take(fromPicker(target))} /></label></div>
    </div>
    <ul class="cards" aria-live="polite">
      ${tried.map(
        (one) => html`<li class="card try" key=${one.address}>
          <img src=${one.address} alt=${one.path} />
          <b class="name"><bdi>${one.path}</bdi></b>
          ${one.live && html`<${Answer} title=${one.chosen ? "In use" : ""} answer=${one.live} />`}
          ${one.chosen && html`<${Answer} title=${`Model ${one.run ?? ""}`} answer=${one.chosen} />`}
        </li>`,
      )}
    </ul>
  </section>`;
}

/** Ask both models; while the process of the chosen one starts, ask again. */
async function ask(files, run, report) {
  for (let tries = 0; ; tries += 1) {
    const body = new FormData();
    for (const file of files) body.append("files", file, file.name || "picture");
    try {
      const answer = await call("POST", "/api/live/predict", { body, query: { run } });
      if (answer.error_chosen?.code !== "candidate_starting" || tries >= CANDIDATE_TRIES) return answer;
      report(answer.error_chosen.detail);
      await wait(1);
    } catch (error) {
      if (!(error instanceof Problem) || !passes(error) || error.status === 0 || tries >= CANDIDATE_TRIES) throw error;
      report(error.message);
      await wait(error.retryAfterS ?? 1);
    }
  }
}

function Answer({ title, answer }) {
  if (answer.error) return html`<p class="answer bad">${title && html`<span class="small">${title}: </span>`}${answer.error.detail ?? answer.error.message ?? "no answer"}</p>`;
  const { decision, label, score, familiar } = answer;
  const sure = decision === label && familiar !== false;
  const heading = familiar === false ? "Not like its training pictures" : decision === label ? labelName(label) : "Uncertain";
  return html`<div class="answer">
    ${title && html`<span class="small">${title}</span>`}
    <p class=${`says${sure ? "" : " warn"}`}>${heading}</p>
    <p class="small">${sure ? `${percent(score)} sure` : `Likeliest: ${labelName(label)} (${percent(score)})`}</p>
    <${Scores} scores=${answer.scores ?? answer.probabilities} best=${label} sure=${sure} />
  </div>`;
}

function Scores({ scores, best, sure }) {
  if (!scores) return null;
  const pairs = Array.isArray(scores) ? scores.map(({ label, score }) => [label, score]) : Object.entries(scores);
  return html`<ul class="scores">
    ${pairs.slice(0, 5).map(
      ([label, score]) => html`<li key=${label} class=${label === best && sure ? "best" : ""}>
        <span>${labelName(label)}</span><span class="figures">${percent(score)}</span><span class="track" aria-hidden="true"><span class="fill" style=${{ width: `${100 * score}%` }}></span></span>
      </li>`,
    )}
  </ul>`;
}

function History({ history }) {
  if (!history.length) return null;
  const words = { promote: "put to use", rollback: "went back to" };
  return html`<section aria-labelledby="history-heading">
    <h2 id="history-heading">Which model was in use when</h2>
    <ul class="acts">
      ${history.map(
        (entry, index) => html`<li key=${index}>
          <span>${entry.by ?? "Somebody"} ${words[entry.action] ?? entry.action} ${entry.run ? `model ${entry.run}` : (entry.to ?? "")}${entry.reason ? html`: “${entry.reason}”` : ""} ${entry.overridden ? html`<span class="tag warn">against the verdict</span>` : ""}</span>
          <span class="small">${when(entry.at)}${entry.evidence?.paired?.n ? `, compared on ${count(entry.evidence.paired.n, "picture")}` : ""}</span>
        </li>`,
      )}
    </ul>
  </section>`;
}
