// First screen: the projects, or one drop zone if there is none.

import { html } from "./htm-preact.js";
import { href, useStore } from "./store.js";
import { DropZone } from "./uploading.js";
import { count, listed, labelName } from "./words.js";

export function Home() {
  const { projects } = useStore();
  if (projects === null) return html`<h1 class="hidden">Studio</h1><p class="muted">Loading your projects …</p>`;
  if (!projects.length) {
    return html`<div class="empty">
      <h1>Teach the computer to tell pictures apart</h1>
      <ol class="path" aria-label="How it goes">
        <li><b>Drop folders</b> one per class, such as “mask” and “no_mask”</li>
        <li><b>Train</b> half a minute for a few hundred pictures</li>
        <li><b>Use it</b> drop a picture, read the answer</li>
      </ol>
      <${DropZone}
        heading="Drop your folders here"
        text="The name of a folder is the label of the pictures in it. A zip or single pictures will do, too. They are stored in this studio only."
      />
    </div>`;
  }
  return html`
    <h1 class="hidden">Studio</h1>
    <section aria-labelledby="projects-heading">
      <h2 id="projects-heading">Your projects</h2>
      <ul class="projects">
        ${projects.map((project) => html`<li key=${project.id}><${ProjectCard} project=${project} /></li>`)}
      </ul>
    </section>
    <${DropZone} compact heading="New project" text="Drop folders here: the name of a folder is the label of the pictures in it." />
  `;
}

function ProjectCard({ project }) {
  const { counts, live, running_job: job, latest_run: run } = project;
  const names = (project.classes ?? []).map(({ name }) => `“${labelName(name)}”`);
  const status = job ? ["Training", ""] : live ? ["In use", "good"] : run ? ["Trained", ""] : ["Not trained yet", ""];
  return html`<a class="card project" href=${href(counts.pictures ? (live ? "in-use" : "data") : "data", project.id)}>
    <b><bdi>${project.name}</bdi></b>
    <span>${count(counts.pictures, "picture")}${names.length ? `: ${listed(names, 4)}` : ""}</span>
    <span><span class=${`tag ${status[1]}`}>${status[0]}</span></span>
  </a>`;
}
