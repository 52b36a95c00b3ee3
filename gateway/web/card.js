// A model card in readable form.

import { element } from "./dom.js";
import { counted, percent } from "./words.js";

const MANY = 30; // so many classes are a wall of words unless they are folded up
const FITS = {
  crop: "scaled to cover, the middle is kept",
  pad: "scaled to fit, with black bars",
  squash: "stretched to fit",
};
const MEASURES = {
  top5_accuracy: "right among the best five",
  known_under_threshold: "of known ones called not sure",
  others_over_threshold: "of other things given a name",
};

/** Fills the dialog with all that is known of a model (`GET /api/v1/models/{model}`) and opens it. */
export function openCard(dialog, detail) {
  const card = detail.card ?? {};
  dialog.querySelector("h2").textContent = `${detail.name}, version ${detail.version}`;
  const lead = detail.card ? card.description : "This model carries no model card. All that is known of it is how it is asked.";
  dialog.querySelector(".card-body").replaceChildren(
    ...[lead ? text("p", lead, "lead") : ""],
    ...section("How good it is", accuracies(card, detail.labels.length)),
    ...section("What it knows", known(detail)),
    ...section("How it sees a photo", facts(seen(detail, card))),
    ...section("How it was made", [facts(made(card)), settings(card)]),
    ...section("Versions", facts(detail.versions.map((one) => [`Version ${one.version}`, one.state]))),
  );
  dialog.showModal();
  dialog.querySelector(".card-body").scrollTop = 0;
}

function accuracies({ metrics }, classes) {
  const list = element("ul", { className: "scores" });
  for (const [split, found] of Object.entries(metrics ?? {})) {
    if (typeof found?.accuracy !== "number") continue;
    const held = `right on ${counted(found.photos ?? 0, "photo")} held back for ${split}`;
    const item = element("li", {}, text("strong", percent(found.accuracy)), text("span", held));
    for (const [name, words] of Object.entries(MEASURES)) {
      if (name === "top5_accuracy" && classes <= 5) continue;
      if (typeof found[name] === "number") item.append(text("small", `${percent(found[name])} ${words}`));
    }
    list.append(item);
  }
  return list.childElementCount ? list : text("p", "The card does not say.");
}

function known({ labels, card, unknown_threshold: threshold }) {
  const photos = card?.training?.photos?.train ?? {};
  const list = element("ul", { className: "labels" });
  for (const name of labels) {
    const item = text("li", name);
    if (typeof photos[name] === "number") item.append(" ", text("small", photos[name].toLocaleString("en")));
    list.append(item);
  }
  const score = card?.other_labels?.length ? "all their scores together are" : "its best score is";
  const sure = threshold === null ? "It always names one." : `It says “not sure” when ${score} under ${percent(threshold)}.`;
  const numbers = Object.keys(photos).length ? " The number is how many pictures it learned each from." : "";
  return labels.length
    ? [text("p", `${counted(labels.length, "class", "classes")}. ${sure}${numbers}`), labels.length > MANY ? folded(`All ${labels.length.toLocaleString("en")}`, list) : list]
    : [text("p", "Its classes have no names here; answers are class numbers.")];
}

const folded = (title, content) => element("details", {}, text("summary", title), content);

function seen({ input, explains }, card) {
  const way = [FITS[input.fit] ?? input.fit, card.input?.interpolation].filter(Boolean).join(", ");
  return [
    ["Size", `${input.width} × ${input.height} pixels, ${way}`],
    ["Explains itself", explains ? "yes: “Why?” on a photo shows what speaks for the answer" : "no"],
  ];
}

function made({ backbone, training, temperature, libraries, created }) {
  const rows = [];
  if (backbone) rows.push(["Backbone", `${backbone.name}, weights: ${backbone.weights}`]);
  for (const [split, classes] of Object.entries(training?.photos ?? {})) {
    const total = typeof classes === "number" ? classes : Object.values(classes ?? {}).reduce((sum, one) => sum + one, 0);
    rows.push([`Photos, ${split}`, total.toLocaleString("en")]);
  }
  rows.push(...plain(training));
  if (typeof temperature === "number") rows.push(["Temperature", temperature.toPrecision(3)]);
  if (libraries) rows.push(["Libraries", Object.entries(libraries).map((pair) => pair.join(" ")).join(", ")]);
  if (created) rows.push(["Made", new Date(created).toLocaleString("en", { dateStyle: "long", timeStyle: "short" })]);
  return rows;
}

function settings({ training }) {
  const rows = plain(training?.settings);
  return rows.length ? folded("Settings of the run", facts(rows)) : null;
}

/** Rows for what is text, a number or a switch. */
const plain = (values) =>
  Object.entries(values ?? {})
    .filter(([, value]) => value !== "" && ["string", "number", "boolean"].includes(typeof value))
    .map(([name, value]) => [words(name), String(value)]);

function section(title, content) {
  const parts = [content].flat().filter(Boolean);
  return parts.length ? [text("h3", title), ...parts] : [];
}

function facts(rows) {
  if (!rows.length) return null;
  const list = element("dl");
  for (const [name, value] of rows) list.append(text("dt", name), text("dd", value));
  return list;
}

const text = (tag, content, className = "") => element(tag, { className }, content);

/** A setting's name as people write it: `batch_size` to `Batch size`. */
function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
