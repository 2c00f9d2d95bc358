// From a drop to a running upload: the project, the plan, the question about a split.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./htm-preact.js";
import { Problem, post } from "./api.js";
import { UNNAMED, acceptDrops, fromPicker, fromTransfer, nameFor } from "./gather.js";
import { toast } from "./shared/dialog.js";
import { fail, go, href, limits, refresh, state, update } from "./store.js";
import { Upload, forgetInterrupted, interrupted } from "./upload.js";
import { bytes, count, duration, listed, number } from "./words.js";
import { namesInZip } from "./zip-names.js";

const REFUSED_SHOWN = 200;

/** The zone that files are dropped on (anywhere on the page counts), and the pickers. */
export function DropZone({ project = null, heading, text, compact = false }) {
  const [over, setOver] = useState(false);
  const [found, setFound] = useState(null);
  const [question, setQuestion] = useState(null); // {plan, answer}
  const busy = useRef(false);

  const take = async (gathering) => {
    if (busy.current) {
      toast("Another drop is still being read: drop it again in a moment.");
      return;
    }
    busy.current = true;
    try {
      setFound(0);
      const dropped = await gathering;
      setFound(null);
      await begin(project, dropped, (plan) => new Promise((answer) => setQuestion({ plan, answer })));
    } catch (error) {
      fail(error);
    } finally {
      busy.current = false;
      setFound(null);
      setQuestion(null);
    }
  };
  useLayoutEffect(() => acceptDrops((transfer) => take(fromTransfer(transfer, setFound)), setOver), [project]);
  const picked = ({ target }) => take(Promise.resolve(fromPicker(target)));

  if (question) return html`<${SplitQuestion} ...${question} />`;
  return html`<section class=${`drop${over ? " over" : ""}${compact ? " compact" : ""}`} aria-labelledby="drop-heading">
    <h2 id="drop-heading">${heading}</h2>
    <p>${found === null ? text : `Reading the folders: ${count(found, "file")} so far …`}</p>
    <div class="buttons">
      <label class=${`button${compact ? "" : " primary"}`}>Choose a folder<input type="file" webkitdirectory multiple onChange=${picked} /></label>
      <label class="button">Choose pictures or a zip<input type="file" multiple accept="image/*,.heic,.heif,.tif,.tiff,.zip" onChange=${picked} /></label>
    </div>
  </section>`;
}

/** Make the project if there is none, plan, ask about a split, and start the upload. */
async function begin(project, dropped, askSplit) {
  const { files, archives, unreadable } = dropped;
  if (!files.length && !archives.length && !unreadable.length) {
    throw new Problem(-1, { detail: "There is no file in what you dropped." });
  }
  const id = project ?? (await createProject(nameFor(dropped))).id;
  const inArchives = (await Promise.all(archives.map(namesInZip))).flatMap((names) => names ?? []);
  const paths = files.map(({ path }) => path);
  const planned = (split) => post(`/api/projects/${id}/plan`, { paths: [...paths, ...inArchives] }, { query: { split } });
  let split = null;
  let plan = await planned(null);
  if (plan.layout === "split") {
    split = await askSplit(plan);
    if (split === null) return;
    plan = await planned(split);
  }
  const own = new Set(paths);
  const tables = new Set(plan.tables ?? []);
  const refusedPaths = new Set(plan.refused.map(({ path }) => path));
  const skipped = (path) => tables.has(path) || refusedPaths.has(path) || !(path in plan.labels);
  const upload = new Upload({
    project: String(id),
    files: files.filter(({ path }) => !skipped(path)),
    archives,
    labels: plan.labels,
    split,
    refused: [...plan.refused.filter(({ path }) => own.has(path)), ...unreadable.map((path) => ({ path, reason: "The browser could not read it." }))],
    tables: files.filter(({ path }) => tables.has(path)).map(({ path, file }) => ({ path, file, kind: /groups/.test(path) ? "groups" : "labels" })),
    limits: limits(),
    changed: () => {
      if (state.project && String(state.project.id) === upload.project && upload.counts) state.project.counts = upload.counts;
      update();
    },
  });
  await state.uploads.get(upload.project)?.finished;
  state.uploads.set(upload.project, upload);
  update();
  if (!project) go(href("data", id));
  // The upload goes on while other screens are shown.
  upload.finished = upload
    .run()
    .catch(fail)
    .finally(async () => {
      await refresh(); // may have begun before the end
      await refresh();
      upload.counts = null; // from now on those of the project
    });
}

async function createProject(name) {
  const room = limits().name_chars - " 50".length;
  let short = [...name].slice(0, room).join("").trim();
  for (let n = 1; ; n += 1) {
    try {
      return await post("/api/projects", { name: n === 1 ? short : `${short} ${n}` });
    } catch (error) {
      if (error.code === "bad_name" && short !== UNNAMED) short = UNNAMED; // a folder's name may be unusable
      else if (error.code !== "project_exists" || n > 50) throw error;
    }
  }
}

const SPLIT_CHOICES = [
  { value: "keep-test", title: "Train on the training part, and keep the test part for checking", help: "The usual meaning of such folders. The model is never trained on test pictures." },
  { value: "merge", title: "Put all together", help: "The model is trained on all pictures; the studio makes its own test." },
  { value: "train", title: "Use the training part only", help: "The others are not sent." },
];

function SplitQuestion({ plan, answer }) {
  const heading = useRef(null);
  useEffect(() => heading.current?.focus(), []);
  const names = Object.values(plan.split ?? {}).flat();
  const folders = [...new Set(names.map((name) => name.split("/").pop()))];
  return html`<section class="panel question" aria-labelledby="split-heading">
    <h2 id="split-heading" tabindex="-1" ref=${heading}>This data set seems to be split already</h2>
    <p>
      ${folders.length ? `The folders ${listed(folders)} hold` : "Its folders hold"} the same classes. They are not classes themselves. What should be done with them?
    </p>
    <ul class="choices">
      ${SPLIT_CHOICES.map(
        ({ value, title, help }, index) =>
          html`<li>
            <button type="button" class=${index ? "" : "primary"} onClick=${() => answer(value)}>${title}</button>
            <span class="small">${help}</span>
          </li>`,
      )}
    </ul>
    <p><button type="button" class="plain" onClick=${() => answer(null)}>Cancel</button></p>
  </section>`;
}

/** Result of an upload: the server's count, the rest, and the reason of each refused file. */
export function UploadStatus({ project }) {
  const upload = state.uploads.get(String(project.id));
  if (!upload) return html`<${Interrupted} project=${project} />`;
  const { state: stage, total, done, added, duplicates, refused, conflicts, counts, leftS, problem, archive } = upload;
  const held = Math.max(counts?.pictures ?? 0, project.counts.pictures);
  const sending = stage === "sending" || stage === "waiting";
  const close = () => {
    state.uploads.delete(String(project.id));
    forgetInterrupted(project.id);
    update();
  };
  const parts = [`${count(added, "new picture")}`];
  if (duplicates) parts.push(`${number(duplicates)} that ${duplicates === 1 ? "was" : "were"} here already`);
  if (refused.length) parts.push(`${number(refused.length)} not taken`);
  return html`<section class="panel upload" aria-labelledby="upload-heading" data-state=${stage}>
    <div class="bar">
      <div class="grow" role="status"><h2 id="upload-heading">
        ${{
          sending: `The studio holds ${count(held, "picture")}`,
          waiting: "Waiting for the studio",
          done: `Done: the studio holds ${count(held, "picture")}`,
          stopped: `Stopped: the studio holds ${count(held, "picture")}`,
          undone: `Undone: the studio holds ${count(held, "picture")}`,
          failed: "The upload ended",
        }[stage]}
      </h2></div>
      ${sending
        ? html`<button type="button" onClick=${() => upload.stop()}>Stop</button>`
        : html`<button type="button" onClick=${close}>Close</button>`}
    </div>
    ${sending && (archive ? html`<${ArchiveProgress} ...${archive} leftS=${leftS} />` : html`<progress max=${Math.max(1, total)} value=${done} aria-label="Files settled"></progress>`)}
    <p class="figures">
      ${sending && !archive ? `${number(done)} of ${count(total, "file")} settled${leftS ? `, about ${duration(leftS)} left` : ""}. ` : ""}
      ${archive ? "" : `${parts.join(", ")}.`}
      ${upload.sentBytes ? ` ${bytes(upload.sentBytes)} sent.` : ""}
    </p>
    ${stage === "undone" && html`<p>${problem.message}</p>`}
    ${stage === "waiting" && html`<p class="warn">${problem?.message} It goes on by itself; nothing has to be sent twice.</p>`}
    ${stage === "failed" && html`<p class="bad">${problem?.message}</p>`}
    ${(stage === "stopped" || stage === "failed") && html`<p>Drop the same folder again to go on: what is here is not sent again.</p>`}
    ${conflicts.length > 0 && html`<${FileList} title=${`${count(conflicts.length, "file")} with the same picture under another label`} files=${conflicts} />`}
    ${refused.length > 0 && html`<${FileList} title=${`Why ${count(refused.length, "file")} ${refused.length === 1 ? "was" : "were"} not taken`} files=${refused} open=${!sending && refused.length <= 5} />`}
  </section>`;
}

/** A zip is sent, and then read by the studio, which adds its pictures meanwhile. */
function ArchiveProgress({ name, sent, size, leftS }) {
  if (sent >= size) {
    return html`<progress aria-label="Zip being read"></progress>
      <p class="figures">${name} is sent. The studio reads it now, and adds its pictures.</p>`;
  }
  return html`<progress max=${Math.max(1, size)} value=${sent} aria-label="Zip sent"></progress>
    <p class="figures">Sending ${name}: ${bytes(sent)} of ${bytes(size)}${leftS ? `, about ${duration(leftS)} left` : ""}.</p>`;
}

function FileList({ title, files, open = false }) {
  const shown = files.slice(0, REFUSED_SHOWN);
  return html`<details open=${open}>
    <summary>${title}</summary>
    <ul class="files">
      ${shown.map(({ path, reason }) => html`<li><b><bdi>${path}</bdi></b> ${reason}</li>`)}
      ${files.length > shown.length && html`<li>and ${number(files.length - shown.length)} more</li>`}
    </ul>
  </details>`;
}

function Interrupted({ project }) {
  const [mark, setMark] = useState(() => interrupted(project.id));
  if (!mark) return null;
  const forget = () => {
    forgetInterrupted(project.id);
    setMark(null);
  };
  return html`<section class="notice warn" aria-label="Interrupted upload">
    <p>
      An upload was interrupted: ${number(mark.done)} of ${count(mark.total, "file")} were settled. Drop the same folder again, and it goes on there; what is here is
      not sent again.
    </p>
    <button type="button" onClick=${forget}>Dismiss</button>
  </section>`;
}
