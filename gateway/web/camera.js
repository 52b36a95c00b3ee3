// The live camera: classifies a few frames per second, and shows a steady answer below the picture.

import { call, modelPath } from "./api.js";
import { element, t } from "./page.js";
import { said } from "./words.js";

const PAUSE_MS = 350; // between frames: two or three per second, fewer if answers take longer
const FRAME_SIDE = 480;
const KEEP = 0.7; // weight of the previous scores when a new frame is added
const WORDS = { NotAllowedError: "cameraForbidden", NotFoundError: "cameraMissing" };

/**
 * Opens the camera in a dialog and classifies its frames until it is closed.
 * @param {{models: Models, take: (file: File) => void}} how `take` gets the picture that the user keeps.
 */
export async function openCamera({ models, take }) {
  const video = element("video", { muted: true, playsInline: true, autoplay: true });
  const spoken = element("p", { className: "spoken" }, t("cameraStarts"));
  const keep = element("button", { className: "primary", type: "button", disabled: true }, t("cameraKeep"));
  const close = element("button", { className: "quiet", type: "button" }, t("close"));
  const dialog = element("dialog", { className: "tool", ariaLabel: t("live") });
  dialog.append(element("div", { className: "frame" }, video, spoken), element("div", { className: "row" }, keep, close));
  document.body.append(dialog);
  dialog.showModal();
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  close.addEventListener("click", () => dialog.close());

  let stream = null;
  const start = async () => {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    if (!dialog.open) return stop();
    video.srcObject = stream;
    await video.play();
    keep.disabled = false;
  };
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
  };
  const visibility = () => (document.hidden ? stop() : start().catch(tell));
  const tell = (error) => (spoken.textContent = WORDS[error.name] ? t(WORDS[error.name]) : error.message);
  document.addEventListener("visibilitychange", visibility);
  keep.addEventListener("click", async () => {
    const picture = await frame(video, Infinity, 0.92);
    dialog.close();
    take(new File([picture], `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`, { type: "image/jpeg" }));
  });

  const averages = new Map();
  const watch = async () => {
    while (dialog.open) {
      if (stream && video.videoWidth) {
        try {
          const body = await frame(video, FRAME_SIDE, 0.8);
          const answer = await call(`${modelPath(models.name)}/predict${models.query}`, { body, type: "image/jpeg", timeout: 10_000 });
          show(spoken, steady(averages, answer));
        } catch (error) {
          tell(error);
          await pause(1000 * (error.retryAfter ?? 1));
        }
      }
      await pause(PAUSE_MS);
    }
  };
  start().catch(tell);
  watch();
  await closed;
  document.removeEventListener("visibilitychange", visibility);
  stop();
  dialog.remove();
}

/** The answer, with scores averaged over the last frames so that the label does not flicker; not of several labels. */
function steady(averages, answer) {
  if (answer.labels) return answer; // each has a threshold of its own
  for (const [label, score] of averages) averages.set(label, KEEP * score);
  const share = averages.size ? 1 - KEEP : 1;
  for (const { label, score } of answer.predictions) averages.set(label, (averages.get(label) ?? 0) + share * score);
  averages.set(null, (averages.get(null) ?? 0) + (answer.label === null ? share : 0));
  const unsure = averages.get(null) > 0.5;
  const ranked = [...averages].filter(([label]) => label !== null).sort(([, a], [, b]) => b - a);
  const predictions = ranked.slice(0, 5).map(([label, score]) => ({ label, score }));
  return { ...answer, label: unsure ? null : predictions[0].label, confidence: predictions[0].score, predictions };
}

function show(spoken, answer) {
  const [title, sentence] = said(answer);
  if (spoken.dataset.said === title + sentence) return;
  spoken.dataset.said = title + sentence;
  spoken.replaceChildren(title, element("small", {}, sentence));
}

async function frame(video, side, quality) {
  const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
  const canvas = element("canvas", { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
