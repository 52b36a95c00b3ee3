// "Why?": shows the heat map over a photo.

import { modelPath } from "./api.js";
import { byId, t } from "./page.js";
import { hideWhy, say, showWhy } from "./tile.js";
import { upload } from "./upload.js";

/** Shows or removes the heat map of an answer, from the version that answered. */
export async function toggleWhy(photo, how) {
  if (photo.tile.dataset.why !== undefined) return hideWhy(photo);
  const button = photo.tile.querySelector(".why");
  const { name, version } = photo.answer.model;
  button.setAttribute("aria-busy", "true");
  try {
    const { heatmap } = await upload(photo, `${modelPath(name)}/explain?version=${version}`, how);
    if (!photo.removed && photo.answer?.model.version === version) showWhy(photo, heatmap);
  } catch (error) {
    const gone = error.code === "unknown_version";
    say(photo, gone ? t("versionGone", { version: String(version) }) : error.message);
    if (error.away) how.service.check();
  } finally {
    byId("announce").textContent = photo.tile.querySelector(".caption").textContent;
    photo.forget();
    button.removeAttribute("aria-busy");
  }
}
