// Pictures from the camera, if the browser allows it.

const $ = (id) => document.getElementById(id);

const REASONS = {
  NotAllowedError: "This page may not use the camera. Your browser’s settings for this page can allow it.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program is using the camera.",
};

/** Show the button that this browser supports, and pass each picture to `take` as a file. */
export function offerCamera(take) {
  if (!navigator.mediaDevices?.getUserMedia) {
    // Without HTTPS pages have no camera, but phones can open their camera app.
    $("capture-label").hidden = !matchMedia("(pointer: coarse)").matches;
    return;
  }
  const dialog = $("camera");
  const video = $("camera-video");
  const shoot = $("camera-shoot");
  let stream = null;
  let taken = 0;

  function stop() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = video.srcObject = null;
  }

  $("open-camera").hidden = false;
  $("open-camera").addEventListener("click", async () => {
    $("camera-text").textContent = "Waiting for the camera …";
    shoot.disabled = true;
    dialog.showModal();
    try {
      const ideal = { facingMode: "environment", width: { ideal: 1920 } };
      const opened = await navigator.mediaDevices.getUserMedia({ video: ideal });
      stream = opened;
      if (!dialog.open) return stop(); // closed while the browser was asking
      video.srcObject = stream;
      await video.play();
      $("camera-text").textContent = "";
      shoot.disabled = false;
      shoot.focus();
    } catch (error) {
      stop();
      $("camera-text").textContent = REASONS[error.name] || "The camera cannot be used.";
    }
  });
  shoot.addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    taken += 1;
    const name = `photo-${taken}.jpg`;
    const keep = (blob) => take(new File([blob], name, { type: "image/jpeg" }));
    canvas.toBlob(keep, "image/jpeg", 0.95);
    $("camera-text").textContent = `${name} is below. Take another, or close the camera.`;
  });
  $("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}
