// The live camera: classifies a few frames per second, and shows a steady answer below the picture.

import { call, modelPath } from "./api.js";
import { element, t } from "./page.js";
import { said } from "./words.js";

const PAUSE_MS = 350; // between frames: two or three per second, fewer if answers take longer
const FRAME_SIDE = 480;
const KEEP = 0.7; // weight of the previous scores when a new frame is added
const KNOWN = Symbol("known"); // the kind of a frame that is known
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

  const averages = { scores: new Map(), kinds: new Map() };
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

/** The answer, averaged over the last frames so that its words do not flicker; not of several labels. */
function steady({ scores, kinds }, answer) {
  if (answer.labels) return answer; // each has a threshold of its own
  average(scores, answer.predictions.map(({ label, score }) => [label, score]));
  average(kinds, [[answer.label === null ? answer.looks_like : KNOWN, 1]]);
  const predictions = ranked(scores).slice(0, 5).map(([label, score]) => ({ label, score }));
  const unsure = (kinds.get(KNOWN) ?? 0) < 0.5;
  const label = unsure ? null : predictions[0].label;
  const looks_like = unsure ? ranked(kinds).find(([name]) => name !== KNOWN)[0] : null;
  return { ...answer, label, looks_like, label_set: null, confidence: predictions[0].score, predictions };
}

/** Adds the values of a frame to averages, in which earlier frames count less and less. */
function average(averages, values) {
  const share = averages.size ? 1 - KEEP : 1;
  for (const [name, value] of averages) averages.set(name, KEEP * value);
  for (const [name, value] of values) averages.set(name, (averages.get(name) ?? 0) + share * value);
}

const ranked = (averages) => [...averages].sort(([, a], [, b]) => b - a);

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
