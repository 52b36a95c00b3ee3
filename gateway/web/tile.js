// One photo's tile.

import { byId, element } from "./dom.js";
import { clearHeat, showHeat } from "./heat.js";
import { heading, label, percent } from "./words.js";

const template = byId("tile");

/** Makes the tile of a photo; `actions` are called with the photo: `why`, `remove`, `retry`. */
export function makeTile(photo, actions) {
  const tile = template.content.firstElementChild.cloneNode(true);
  const part = (selector) => tile.querySelector(selector);
  const name = part(".name");
  name.textContent = photo.name;
  name.title = photo.path;
  part(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
  part(".remove").addEventListener("click", () => actions.remove(photo));
  part(".retry").addEventListener("click", () => actions.retry(photo));
  part(".why").addEventListener("click", () => actions.why(photo));
  photo.tile = tile;
  updateTile(photo);
  return tile;
}

/** Shows a thumbnail, where there is one, in place of the empty frame. */
export function showThumbnail(photo, blob) {
  if (!blob || photo.removed) return;
  const image = photo.tile.querySelector("img");
  image.src = URL.createObjectURL(blob);
  image.alt = photo.name;
  image.hidden = false;
  updateTile(photo);
}

/** Gives up what the tile holds in memory. */
export function dropTile(photo) {
  URL.revokeObjectURL(photo.tile.querySelector("img").src);
  photo.tile.remove();
}

/** Brings the tile in step with the photo's state. */
export function updateTile(photo) {
  const { tile, state, answer, error } = photo;
  const part = (selector) => tile.querySelector(selector);
  tile.dataset.state = state === "done" && answer.label === null ? "unsure" : state;
  part("h3").textContent = heading(photo);
  part(".detail").textContent = detail(photo);
  part(".retry").hidden = state !== "stopped" && (state !== "failed" || error.final);
  const why = part(".why");
  why.hidden = state !== "done" || !photo.explains || part("img").hidden; // a heat map needs its photo
  why.setAttribute("aria-label", `Why? Show what in ${photo.name} speaks for the answer`);
  const bars = part(".bars");
  bars.hidden = state !== "done";
  if (state !== "done") {
    hideWhy(photo);
    return;
  }
  bars.setAttribute("aria-label", `Best guesses for ${photo.name}`);
  bars.replaceChildren(...answer.predictions.map(bar));
}

function detail({ state, answer, error }) {
  if (state === "failed") return [error.title, error.message].filter(Boolean).join(". ");
  if (state !== "done") return "";
  if (answer.label !== null) return `${percent(answer.confidence)} sure`;
  if (answer.looks_like) return `looks like: ${answer.looks_like}`;
  return `best guess at ${percent(answer.confidence)}, too little to name it`;
}

function bar({ label: name, score }) {
  const track = element("i");
  track.style.setProperty("--share", score);
  return element("li", {}, element("span", {}, label(name)), element("span", {}, percent(score)), track);
}

/** Lays a heat map over the photo and says in words where it is. */
export function showWhy(photo, heatmap) {
  const { tile } = photo;
  const image = tile.querySelector("img");
  const place = showHeat(tile.querySelector(".heat"), heatmap, image.naturalWidth || 4, image.naturalHeight || 3);
  tile.dataset.why = "";
  tile.querySelector(".why").setAttribute("aria-pressed", "true");
  const best = label(photo.answer.predictions[0].label);
  tile.querySelector("figcaption").textContent = place
    ? `Yellow speaks for ${best}: mostly ${place}.`
    : `Nothing in particular speaks for ${best}.`;
}

/** Takes the heat map away again. */
export function hideWhy(photo) {
  delete photo.tile.dataset.why;
  clearHeat(photo.tile.querySelector(".heat"));
  photo.tile.querySelector(".why").setAttribute("aria-pressed", "false");
  photo.tile.querySelector("figcaption").textContent = "";
}
