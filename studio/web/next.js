// The next step, in plain words, from the state of the project.

import { post } from "./api.js";
import { fail, go, href, refresh, train } from "./store.js";
import { bytes, count, duration, isolated, labelName, number, percent } from "./words.js";

const FEW_ANSWERS = 0.5; // share of pictures that get a class
const FEW_PICTURES = 20; // per class; with fewer, more pictures help more than anything else

/**
 * Return {text, label?, href?, act?, other?} for the state; `other` is an alternative, as a link.
 */
export function nextStep(state) {
  const { project, uploads, feed, route } = state;
  const upload = uploads.get(String(project.id));
  if (upload?.state === "waiting") return { text: "The studio does not answer. The upload goes on by itself when it is back: keep this page open." };
  if (upload?.state === "sending") return { text: `${onTheWay(upload)}. Keep this page open.` };
  const { counts } = project;
  if (!counts.pictures) return { text: "Drop two folders of pictures on this page, one folder per class." };
  if (project.running_job) return running(project.running_job, feed, route);
  const classes = project.classes.filter(({ pictures }) => pictures);
  if (classes.length < 2) return secondClass(classes, counts);
  if (!project.latest_run) return firstTraining(classes, counts, route);
  return afterTraining(project, counts, route);
}

function onTheWay({ archive, done, total }) {
  if (!archive) return `Your pictures are on their way: ${number(done)} of ${number(total)}`;
  const { name, sent, size } = archive;
  return sent < size ? `${isolated(name)} is on its way: ${bytes(sent)} of ${bytes(size)}` : `The studio reads ${isolated(name)}`;
}

function running(job, feed, route) {
  const left = feed?.id === job.id ? (feed.progress?.overall_left_s ?? feed.job?.overall_left_s) : null;
  const what = job.kind === "audit" ? "The labels are being checked" : job.state === "queued" ? "The training waits for its turn" : "The model is learning";
  const text = `${what}${left ? `, about ${duration(left)} left` : ""}. Nothing to do: you may leave this page.`;
  return route.screen === "train" ? { text } : { text, label: "Watch", href: href("train") };
}

function secondClass(classes, counts) {
  if (counts.unlabelled) {
    return {
      text: `Label ${count(counts.unlabelled, "picture")}: at least two classes are needed.`,
      label: "Label them",
      href: href("labels", undefined, "?filter=unlabelled"),
    };
  }
  return { text: `Everything is “${labelName(classes[0]?.name)}”. Drop a second folder that shows something else.` };
}

function firstTraining(classes, counts, route) {
  const small = classes.find(({ pictures }) => pictures < FEW_PICTURES);
  const text = small
    ? `Train a model. (Only ${count(small.pictures, "picture")} of “${labelName(small.name)}”: more would make it better.)`
    : `Train a model with your ${count(counts.labelled, "picture")}.`;
  if (route.screen === "train") return { text: "Press “Train”. It takes half a minute for a few hundred pictures." };
  const other = route.screen === "labels" ? null : { label: "Look over the labels first", href: href("labels") };
  return { text, label: "Train", act: () => train(), other };
}

function afterTraining(project, counts, route) {
  const { latest_run: run, live } = project;
  if (counts.changed) {
    const text = `Train again: ${count(counts.changed, "picture has", "pictures have")} changed since the last training.`;
    return route.screen === "train" ? { text } : { text, label: "Train again", act: () => train() };
  }
  if (!live && route.screen === "in-use" && route.query.has("run")) return { text: "Read the verdict below, then switch to the new model, or leave it." };
  if (!live) {
    const unsure = (run.answered ?? 1) < FEW_ANSWERS ? ` It says “uncertain” for ${percent(1 - run.answered)} of such pictures: more pictures, or right labels, change that.` : "";
    const issues = counts.label_issues && { label: `Look at ${count(counts.label_issues, "doubtful label")} first`, href: href("labels", undefined, "?filter=label_issue") };
    const good = route.screen === "results" ? null : { label: "How good is it?", href: href("results", undefined, `/${run.id}`) };
    return {
      text: `The model is ready.${unsure} Put it into use, then try it with a picture.`,
      label: "Use this model",
      act: () => promote(run.id),
      other: issues || good,
    };
  }
  if (live.run !== run.id) {
    const at = href("in-use", undefined, `?run=${run.id}`);
    const text = "A newer model is ready. Check that it is at least as good as the one in use, then switch.";
    const compared = route.screen === "in-use" && route.query.get("run") === String(run.id);
    return compared ? { text: "Read the verdict below, try both models with a picture, then switch or leave it." } : { text, label: "Compare and switch", href: at };
  }
  if (counts.label_issues) {
    const look = `ook at ${count(counts.label_issues, "picture")} whose label may be wrong.`;
    const text = route.screen === "in-use" ? `Drop a picture below to see the model’s answer. Then l${look}` : `L${look}`;
    const at = href("labels", undefined, "?filter=label_issue");
    return route.screen === "labels" ? { text: "Correct what is wrong; press Enter where the label is right." } : { text, label: "Look at them", href: at };
  }
  if (route.screen === "in-use") return { text: "Drop a picture below to see the model’s answer." };
  return { text: "The model is in use. Try it with a picture it has never seen.", label: "Try it", href: href("in-use") };
}

/** Put a model into use; the first one needs no comparison, others are shown beside the verdict. */
async function promote(run) {
  try {
    await post("/api/live/promote", { run });
    await refresh();
    go(href("in-use"));
  } catch (error) {
    if (error.code === "gate") go(href("in-use", undefined, `?run=${run}`));
    else fail(error);
  }
}
