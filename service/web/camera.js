// The camera, if the browser allows it: pictures to keep, and answers while it runs.

import { explanation, verdict } from "./answers.js";
import { stateOf } from "./card.js";
import { Overlay } from "./overlay.js";
import { scoresOf } from "./scores.js";
import { predict } from "./service.js";
import { open } from "./shared/dialog.js";
import { $, setText } from "./shared/dom.js";
import { Problem } from "./shared/http.js";

const REASONS = {
  NotAllowedError: "This page may not use the camera. Your browser’s settings for this page can allow it.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program is using the camera.",
};
const KEPT_QUALITY = 0.95;
const LIVE_EDGE_PX = 960;
const LIVE_QUALITY = 0.85;
const DEFAULT_WAIT_S = 2;
const RATE_SHARE = 0.3; // of the newest interval in the shown rate

/** Show the button that this browser supports; `take` gets each picture as a file. */
export function offerCamera({ take, faces, key }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    // Without HTTPS pages have no camera, but phones can open their camera app.
    $("capture-label").hidden = !matchMedia("(pointer: coarse)").matches;
    return;
  }
  const video = $("camera-video");
  const live = new Live(video, { faces, key });
  let stream = null;
  let taken = 0;

  const stop = () => {
    live.stop();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = video.srcObject = null;
  };
  const enable = (isOn) => {
    $("camera-shoot").disabled = $("camera-live").disabled = !isOn;
  };

  $("open-camera").hidden = false;
  $("open-camera").addEventListener("click", async () => {
    setText($("camera-text"), "Waiting for the camera …");
    enable(false);
    const closed = open($("camera"));
    closed.then(stop);
    try {
      const ideal = { facingMode: "environment", width: { ideal: 1920 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: ideal });
      if (!$("camera").open) return stop(); // closed while the browser was asking
      video.srcObject = stream;
      await video.play();
      setText($("camera-text"), "");
      enable(true);
      $("camera-live").focus();
    } catch (error) {
      stop();
      setText($("camera-text"), REASONS[error.name] || "The camera cannot be used.");
    }
  });
  $("camera-shoot").addEventListener("click", async () => {
    taken += 1;
    const name = `photo-${taken}.jpg`;
    take(new File([await photograph(video, Infinity, KEPT_QUALITY)], name, { type: "image/jpeg" }));
    setText($("camera-text"), `${name} is kept below.`);
  });
  $("camera-live").addEventListener("click", () => (live.isOn ? live.stop() : live.start()));
}

/** Answers for one picture of a video after the other: the next is taken once one is answered. */
class Live {
  isOn = false;
  #turn = 0; // a stopped loop's answer is dropped

  constructor(video, on) {
    this.video = video;
    this.on = on;
    this.overlay = new Overlay($("camera-frame"));
  }

  async start() {
    this.isOn = true;
    this.#turn += 1;
    const turn = this.#turn;
    const isMine = () => this.isOn && this.#turn === turn;
    setText($("camera-live"), "Stop answering");
    $("camera-answer").hidden = false;
    let interval = null;
    let begun = performance.now();
    while (isMine()) {
      const wait = await this.#once(isMine);
      if (!isMine()) return;
      if (wait) {
        await new Promise((next) => setTimeout(next, 1000 * wait));
      } else if (document.hidden) {
        await new Promise((next) => document.addEventListener("visibilitychange", next, { once: true }));
        interval = null;
      } else {
        const took = performance.now() - begun;
        interval = interval === null ? took : (1 - RATE_SHARE) * interval + RATE_SHARE * took;
        setText($("camera-rate"), `${(1000 / interval).toFixed(1)} pictures per second`);
      }
      begun = performance.now();
    }
  }

  stop() {
    this.isOn = false;
    setText($("camera-live"), "Answer while it runs");
    $("camera-answer").hidden = true;
    this.overlay.draw(null, {});
    for (const id of ["camera-verdict", "camera-explanation", "camera-rate"]) setText($(id), "");
    $("camera-scores").replaceChildren();
  }

  /** Ask once; return the seconds to wait before the next, 0 for none. */
  async #once(isMine) {
    try {
      const blob = await photograph(this.video, LIVE_EDGE_PX, LIVE_QUALITY);
      const file = new File([blob], "camera.jpg", { type: "image/jpeg" });
      const { model, predictions } = await predict([file], this.on.faces());
      const { error, ...answer } = predictions[0];
      if (isMine()) this.#show({ state: error ? "failed" : "answered", answer: error ? null : answer, problem: error, model });
      return 0;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (!isMine()) return 0;
      setText($("camera-rate"), problem.message);
      if (problem.status === 401) {
        this.stop();
        $("camera").close();
        this.on.key(problem);
      }
      return problem.retryAfterS || DEFAULT_WAIT_S;
    }
  }

  #show(item) {
    $("camera-answer").dataset.state = stateOf(item);
    setText($("camera-verdict"), verdict(item));
    setText($("camera-explanation"), explanation(item));
    $("camera-scores").replaceChildren(...scoresOf(item.answer));
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, LIVE_EDGE_PX / Math.max(videoWidth, videoHeight));
    const size = { width: Math.round(videoWidth * scale), height: Math.round(videoHeight * scale) };
    this.overlay.draw(item.answer, size);
  }
}

/** Return the video's picture as a JPEG of at most an edge. */
function photograph(video, edge, quality) {
  const scale = Math.min(1, edge / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
}
