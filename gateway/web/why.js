// "Why?": the model's heat map over a photo.

import { modelPath } from "./api.js";
import { announce } from "./speech.js";
import { hideWhy, showWhy } from "./tile.js";
import { upload } from "./upload.js";

/** Shows the heat map of a photo that was answered, by the version that answered; or takes it away again. */
export async function toggleWhy(photo, how) {
  if (photo.tile.dataset.why !== undefined) return hideWhy(photo);
  const caption = photo.tile.querySelector("figcaption");
  const button = photo.tile.querySelector(".why");
  const { name, version } = photo.answer.model;
  button.setAttribute("aria-busy", "true");
  try {
    const { heatmap } = await upload(photo, `${modelPath(name)}/explain?version=${version}`, how);
    if (!photo.removed && photo.state === "done") showWhy(photo, heatmap);
  } catch (error) {
    const gone = error.code === "unknown_version";
    caption.textContent = gone ? `Version ${version} has gone: ask again for an answer by a newer one.` : error.message;
    if (error.away) how.service.check();
  } finally {
    announce(caption.textContent);
    photo.forget();
    button.removeAttribute("aria-busy");
  }
}
