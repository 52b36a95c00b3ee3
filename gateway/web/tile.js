// The tile of a photo with its answers. The viewer shows the same tile enlarged.

import { byId, element, t } from "./page.js";
import { clearHeat, showHeat } from "./heat.js";
import { heading, named, percent, said } from "./words.js";

const FOLDED = 0.01; // lower scores are collapsed
const template = byId("tile");

/** Creates the tile of a photo. `actions` has a function for each button, by class, which gets the photo. */
export function makeTile(photo, actions) {
  const tile = template.content.firstElementChild.cloneNode(true);
  const part = (selector) => tile.querySelector(selector);
  part(".name").textContent = photo.name;
  part(".name").title = photo.path;
  part(".remove").setAttribute("aria-label", t("removeLabel", { name: photo.name }));
  part(".photo").setAttribute("aria-label", t("enlarge", { name: photo.name }));
  for (const [name, act] of Object.entries(actions)) part(`.${name}`).addEventListener("click", () => act(photo));
  photo.tile = tile;
  photo.onSent = () => tell(photo);
  updateTile(photo);
  return tile;
}

/** Shows the thumbnail, if there is one, instead of the empty frame. */
export function showThumbnail(photo, blob) {
  if (!blob || photo.removed) return;
  photo.thumbnail = blob;
  const address = URL.createObjectURL(blob);
  const front = photo.tile.querySelector(".front");
  front.alt = photo.name;
  front.onload = () => {
    const shape = front.naturalWidth / front.naturalHeight;
    if (shape) photo.tile.style.setProperty("--shape", Math.min(2, Math.max(0.8, shape)));
  };
  for (const image of [front, photo.tile.querySelector(".back")]) {
    image.src = address;
    image.hidden = false;
  }
  updateTile(photo);
}

/** Removes the tile. Its memory is freed when the removal cannot be undone any more. */
export function dropTile(photo) {
  photo.tile.remove();
}

/** Frees the memory of the tile. */
export function freeTile(photo) {
  URL.revokeObjectURL(photo.tile.querySelector(".back").src);
}

/** Updates the tile. */
export function updateTile(photo) {
  const { tile, state, answer, error } = photo;
  const part = (selector) => tile.querySelector(selector);
  tile.dataset.state = state === "done" && answer.label === null && !answer.labels ? "unsure" : state;
  tile.dataset.answers = photo.answers.size;
  tell(photo);
  part(".retry").hidden = state !== "stopped" && !(error && !error.final && !["waiting", "working"].includes(state));
  const shown = !part(".front").hidden;
  const why = part(".why");
  why.hidden = !answer || !photo.explains || !shown; // a heat map needs the photo
  why.setAttribute("aria-label", t("whyLabel", { name: photo.name }));
  part(".share").hidden = !answer || !shown;
  part(".crop").hidden = !shown;
  part(".code").hidden = !answer;
  part(".differ").hidden = !photo.differs;
  const answers = [...photo.answers.values()];
  const key = JSON.stringify(answers);
  if (part(".answers").dataset.key === key) return;
  part(".answers").dataset.key = key;
  part(".answers").replaceChildren(...answers.map((one) => column(photo, one, answers.length > 1)));
  hideWhy(photo);
}

/** Heading and sentence. */
function tell(photo) {
  const { tile, state, answer, error, sent } = photo;
  const [title, sentence] = answer ? said(answer) : [heading(photo), ""];
  const under = [];
  const sending = sent !== null && sent > 0 && sent < 1;
  if (sending) under.push(t("sending", { percent: percent(sent) }));
  else if (answer && (state === "waiting" || state === "working")) under.push(t("askingAgain"));
  if (error) under.push([error.title, error.message].filter(Boolean).join(". "));
  else if (sentence && tile.dataset.answers < 2) under.push(sentence);
  tile.querySelector("h3").textContent = photo.differs ? photo.different.map(named).join(` ${t("or")} `) : title;
  tile.querySelector(".detail").textContent = under.join(" ");
  tile.toggleAttribute("data-sending", sending);
  tile.style.setProperty("--sent", sent ?? 0);
}

/** The answer of a model: its name, if there are several models, and the best labels as bars. */
function column(photo, answer, several) {
  const { model, predictions, labels = [] } = answer;
  const by = t("by", { name: model.name, version: String(model.version) });
  const bars = element("ol", { className: "bars", ariaLabel: t("guessesBy", { name: photo.name, by }) });
  const small = predictions.filter(({ score }, at) => at > 0 && score < FOLDED);
  bars.append(...predictions.filter((one) => !small.includes(one)).map((one) => bar(one, labels.includes(one.label))));
  const parts = [];
  if (several) {
    const verdict = photo.differs ? [element("strong", {}, named(answer)), " "] : [];
    parts.push(element("p", { className: "verdict", dir: "auto" }, ...verdict, element("span", {}, percent(answer.confidence))));
  }
  const guesses = element("details", { className: "guesses" }, element("summary", {}, t("guesses")), bars);
  if (small.length) guesses.append(element("p", { className: "small" }, t("small", { labels: small.map((one) => one.label).join(", ") })));
  parts.push(guesses, element("p", { className: "by" }, by));
  if (photo.feedback) parts.push(photo.feedback(photo, answer));
  return element("section", {}, ...parts);
}

/** A label with its score; `has`: the photo has the label, by a multi-label model. */
function bar({ label, score }, has) {
  const track = element("i");
  track.style.setProperty("--share", score);
  return element("li", {}, element("span", { dir: "auto" }, has ? element("strong", {}, label) : label), element("span", {}, percent(score)), track);
}

/** Shows a heat map over the photo and describes it in words. */
export function showWhy(photo, heatmap) {
  const { tile } = photo;
  const image = tile.querySelector(".front");
  const place = showHeat(tile.querySelector(".heat"), heatmap, image.naturalWidth || 4, image.naturalHeight || 3);
  tile.dataset.why = "";
  tile.querySelector(".why").setAttribute("aria-pressed", "true");
  const best = photo.answer.predictions[0].label;
  const { left, top, right, bottom } = heatmap.box;
  const cut = left > 0.01 || top > 0.01 || right < 0.99 || bottom < 0.99;
  const spoken = place ? t("heat", { label: best, place: t(`place.${place}`) }) : t("noHeat", { label: best });
  say(photo, cut ? `${spoken} ${t("hatched")}` : spoken);
}

/** Expands or collapses the answers. */
export function unfold(photo, open) {
  for (const guesses of photo.tile.querySelectorAll(".guesses")) guesses.open = open;
}

/** Shows a message below the answer. */
export function say(photo, text) {
  photo.tile.querySelector(".caption").textContent = text;
}

/** Removes the heat map. */
export function hideWhy(photo) {
  delete photo.tile.dataset.why;
  clearHeat(photo.tile.querySelector(".heat"));
  photo.tile.querySelector(".why").setAttribute("aria-pressed", "false");
  say(photo, "");
}
