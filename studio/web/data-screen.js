// Screen 1, data: upload, classes, what the check found, versions.

import { html, useEffect, useState } from "./htm-preact.js";
import { call, get, patch, post, remove } from "./api.js";
import { confirmed, toast } from "./shared/dialog.js";
import { fail, follow, go, href, limits, refresh, useStore } from "./store.js";
import { DropZone, UploadStatus } from "./uploading.js";
import { FINDINGS, count, labelName, number, when } from "./words.js";

const LONG = 60; // characters of a class name that may be cut off
const SHOWN = 10; // classes; more are scrolled

export function DataScreen() {
  const { project } = useStore();
  const empty = !project.counts.pictures;
  return html`
    <${UploadStatus} project=${project} />
    <${DropZone}
      project=${project.id}
      compact=${!empty}
      heading=${empty ? "Drop your folders here" : "Add pictures"}
      text=${empty
        ? "The name of a folder is the label of the pictures in it. Several folders at once, a zip or single pictures will do."
        : "Drop folders, a zip or pictures anywhere on this page. Pictures that the studio already has are not sent again."}
    />
    ${!empty && html`<div class="columns"><${Classes} project=${project} /><${Findings} project=${project} /></div>`}
    ${!empty && html`<${Versions} project=${project} />`}
  `;
}

function Classes({ project }) {
  const { classes, counts } = project;
  const largest = Math.max(1, ...classes.map(({ pictures }) => pictures), counts.unlabelled ?? 0);
  const rows = classes.map(({ name, pictures }) => ({ key: name, title: labelName(name), pictures, query: { label: name } }));
  if (counts.unlabelled) rows.push({ key: "", title: "no label yet", pictures: counts.unlabelled, query: { filter: "unlabelled" }, quiet: true });
  if (counts.left_out) rows.push({ key: "-", title: "left out", pictures: counts.left_out, query: { filter: "left_out" }, quiet: true });
  if (counts.test) rows.push({ key: "test", title: "kept for checking", pictures: counts.test, query: { filter: "test" }, quiet: true });
  return html`<section class="panel" aria-labelledby="classes-heading">
    <h2 id="classes-heading">${count(counts.pictures, "picture")}, ${count(classes.length, "class", "classes")}</h2>
    <ul class=${`classes${rows.length > SHOWN ? " many" : ""}`}>
      ${rows.map(
        ({ key, title, pictures, query, quiet }) => html`<li key=${key} class=${quiet ? "quiet" : ""}>
          <a href=${href("labels", undefined, `?${new URLSearchParams(query)}`)} title=${title.length > LONG ? title : null}>${title}</a>
          <span class="figures">${number(pictures)}</span>
          <span class="track" aria-hidden="true"><span class="fill" style=${{ width: `${(100 * pictures) / largest}%` }}></span></span>
        </li>`,
      )}
    </ul>
    <${RenameClass} project=${project} />
  </section>`;
}

function RenameClass({ project }) {
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const chosen = from || project.classes[0]?.name || "";
  const rename = async (event) => {
    event.preventDefault();
    try {
      await patch(`/api/projects/${project.id}/classes/${encodeURIComponent(chosen)}`, { name: to.trim() });
      toast(`“${labelName(chosen)}” is “${labelName(to.trim())}” now.`);
      setTo("");
      setFrom("");
      await refresh();
    } catch (error) {
      fail(error);
    }
  };
  const renameProject = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    try {
      await patch(`/api/projects/${project.id}`, { name });
      await refresh();
    } catch (error) {
      fail(error);
    }
  };
  const removeProject = async () => {
    const sure = await confirmed({ title: `Remove “${project.name}”?`, text: "Its pictures, labels and versions are deleted, and this cannot be undone. A model in use stays in use.", action: "Remove it" });
    if (!sure) return;
    try {
      await remove(`/api/projects/${project.id}`);
      go("/");
    } catch (error) {
      fail(error);
    }
  };
  return html`<details>
    <summary>Rename or remove</summary>
    <form class="bar" onSubmit=${renameProject}>
      <label class="field grow">The project <input name="name" type="text" value=${project.name} maxlength=${limits().name_chars} required /></label>
      <button type="submit">Rename</button>
    </form>
    ${project.classes.length > 0 &&
    html`<form class="bar" onSubmit=${rename}>
      <label class="field">The class
        <select value=${chosen} onChange=${({ target }) => setFrom(target.value)}>
          ${project.classes.map(({ name }) => html`<option value=${name}>${labelName(name)}</option>`)}
        </select>
      </label>
      <label class="field grow">to <input type="text" value=${to} onInput=${({ target }) => setTo(target.value)} maxlength=${limits().name_chars} required /></label>
      <button type="submit">Rename</button>
    </form>`}
    <button type="button" class="danger" onClick=${removeProject}>Remove the project</button>
  </details>
  <${Import} project=${project} />`;
}

/** Labels of another tool, for pictures that the project already has. */
function Import({ project }) {
  const take = async ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (!file) return;
    try {
      const text = await file.text();
      const format = /"annotations"\s*:\s*\{/.test(text) && !text.trimStart().startsWith("[") ? "cloud-annotations" : "label-studio";
      const answer = await call("POST", `/api/projects/${project.id}/import`, { body: text, query: { format } });
      const absent = answer.unmatched.length ? ` ${count(answer.unmatched.length, "name")} in it fit no picture here, such as ${answer.unmatched[0]}.` : "";
      toast(`${count(answer.changed, "picture")} got a label from ${file.name}.${absent}`);
      await refresh();
    } catch (error) {
      fail(error);
    }
  };
  return html`<details>
    <summary>Take over labels from Label Studio or IBM</summary>
    <p class="small">Add the pictures first, then choose the tool’s JSON file: labels are found by the files’ names.</p>
    <label class="button">Choose the JSON file<input type="file" accept=".json,application/json" onChange=${take} /></label>
  </details>`;
}

function Findings({ project }) {
  const found = project.counts.findings ?? {};
  const known = FINDINGS.filter(({ kind }) => found[kind]);
  const check = async () => {
    try {
      follow(await post(`/api/projects/${project.id}/jobs`, { kind: "audit", options: {} }));
      go(href("train"));
      refresh();
    } catch (error) {
      fail(error);
    }
  };
  return html`<section class="panel" aria-labelledby="findings-heading">
    <h2 id="findings-heading">What the check found</h2>
    ${known.length
      ? html`<ul class="findings">
          ${known.map(
            ({ kind, title, help }) => html`<li key=${kind}>
              <a href=${href("labels", undefined, `?filter=${kind}`)}>${title}</a> <span class="figures">${number(found[kind])}</span>
              <span class="small">${help}</span>
            </li>`,
          )}
        </ul>`
      : html`<p class="muted">Nothing found: no copies, no dark, blurred or tiny pictures.</p>`}
    ${!project.running_job &&
    html`<p class="small">Each training searches for wrong labels, too. <button type="button" class="plain link" onClick=${check}>Search without training</button></p>`}
  </section>`;
}

// --- versions ----------------------------------------------------------------------------------------

function Versions({ project }) {
  const [versions, setVersions] = useState(null);
  const [diff, setDiff] = useState(null);
  const address = `/api/projects/${project.id}/versions`;
  const load = async () => {
    const answer = await get(address);
    setVersions(answer.versions ?? answer);
  };
  useEffect(() => void load().catch(fail), [project.id, project.latest_version, project.latest_run?.id]);
  const act = async (what) => {
    try {
      await what();
      await Promise.all([load(), refresh()]);
    } catch (error) {
      fail(error);
    }
  };
  const restore = async (version) => {
    const sure = await confirmed({
      title: `Go back to version ${version.number ?? version.id}?`,
      text: "Labels, classes and groups become what they were then. Nothing is lost: this can be undone, and later versions stay.",
      action: "Go back",
    });
    if (sure) act(() => post(`${address}/${version.id}/restore`));
  };
  const compare = (a, b) => act(async () => setDiff({ a, b, ...(await get(`${address}/${a.id}/diff/${b.id}`)) }));
  if (!versions) return null;
  return html`<section class="versions" aria-labelledby="versions-heading">
    <div class="bar">
      <h2 id="versions-heading" class="grow">Versions</h2>
      <button type="button" onClick=${() => act(() => post(address, {}))} disabled=${versions.length > 0 && !project.counts.changed}>Make a version now</button>
    </div>
    <p class="small">A version is made at each training. It never changes, so you can always see what a model has learned from, and go back.</p>
    ${versions.length > 0 &&
    html`<div class="scroll" tabindex="0" role="region" aria-label="List of versions">
      <table>
        <thead><tr><th scope="col">Version</th><th scope="col">Made</th><th scope="col">Pictures</th><th scope="col">Save</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
        <tbody>
          ${versions.map(
            (version, index) => html`<tr key=${version.id}>
              <th scope="row">${version.number ?? version.id}${version.note ? html` <span class="small">${version.note}</span>` : ""}</th>
              <td>${when(version.created_at)}${version.by ? ` by ${version.by}` : ""}</td>
              <td>${number(version.pictures)}</td>
              <td>
                <a href=${`${address}/${version.id}/export?format=zip`} download>zip</a>, ${" "}
                <a href=${`${address}/${version.id}/export?format=label-studio`} download>Label Studio</a>, ${" "}
                <a href=${`${address}/${version.id}/export?format=cloud-annotations`} download>IBM</a>
              </td>
              <td class="actions">
                ${versions[index + 1] && html`<button type="button" class="plain link" onClick=${() => compare(versions[index + 1], version)}>What changed</button>`}
                ${(index > 0 || project.counts.changed > 0) && html`<button type="button" class="plain link" onClick=${() => restore(version)}>Go back to it</button>`}
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
    ${diff && html`<${Diff} ...${diff} />`}
  </section>`;
}

const sizeOf = (some) => (typeof some === "number" ? some : (some?.length ?? 0));

function Diff({ a, b, added, removed, relabelled, regrouped }) {
  const parts = [
    [sizeOf(added), "added"],
    [sizeOf(removed), "removed"],
    [sizeOf(relabelled), "with another label"],
    [sizeOf(regrouped), "in another group"],
  ].filter(([n]) => n);
  return html`<p class="notice" role="status">
    From version ${a.number ?? a.id} to ${b.number ?? b.id}: ${parts.length ? parts.map(([n, what]) => `${count(n, "picture")} ${what}`).join(", ") : "nothing changed"}.
  </p>`;
}
