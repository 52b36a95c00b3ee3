// A model card in readable form.

import { element, language, number, t } from "./page.js";
import { percent } from "./words.js";

const MANY = 30; // classes from which their list is collapsed
const MEASURES = { top5_accuracy: "card.top5", known_under_threshold: "card.under", others_over_threshold: "card.others", exact_labels: "card.exact" };

/** Fills the dialog with the details of a model (`GET /api/v1/models/{model}`) and opens it. */
export function openCard(dialog, detail) {
  const card = detail.card ?? {};
  dialog.querySelector("h2").textContent = t("by", { name: detail.name, version: String(detail.version) });
  const lead = detail.card ? card.description : t("card.none");
  dialog.querySelector(".card-body").replaceChildren(
    ...[lead ? text("p", lead, "lead") : ""],
    ...section(t("card.good"), accuracies(card, detail.labels.length)),
    ...section(t("card.knows"), known(detail)),
    ...section(t("card.sees"), facts(seen(detail, card))),
    ...section(t("card.made"), [facts(made(card)), settings(card)]),
    ...section(t("card.versions"), facts(detail.versions.map((one) => [`${t("version")} ${one.version}`, one.state]))),
  );
  dialog.showModal();
  dialog.querySelector(".card-body").scrollTop = 0;
}

function accuracies({ metrics }, classes) {
  const list = element("ul", { className: "scores" });
  for (const [split, found] of Object.entries(metrics ?? {})) {
    const several = typeof found?.mean_average_precision === "number"; // of a multi-label model
    if (typeof found?.accuracy !== "number" && !several) continue;
    const held = t(several ? "card.precision" : "card.right", { count: found.photos ?? 0, split });
    const figure = several ? found.mean_average_precision : found.accuracy;
    const item = element("li", {}, text("strong", percent(figure)), text("span", held));
    for (const [name, key] of Object.entries(MEASURES)) {
      if (name === "top5_accuracy" && classes <= 5) continue;
      if (typeof found[name] === "number") item.append(text("small", t(key, { percent: percent(found[name]) })));
    }
    list.append(item);
  }
  return list.childElementCount ? list : text("p", t("card.silent"));
}

function known({ labels, card, multi_label, unknown_threshold: threshold }) {
  const photos = card?.training?.photos?.train ?? {};
  const list = element("ul", { className: "labels" });
  for (const name of labels) {
    const item = text("li", name);
    if (typeof photos[name] === "number") item.append(" ", text("small", number(photos[name])));
    list.append(item);
  }
  const said = [t("card.classes", { count: labels.length })];
  said.push(threshold === null ? t(multi_label ? "card.several" : "card.always") : t(card?.other_labels?.length ? "card.sum" : "card.threshold", { percent: percent(threshold) }));
  if (Object.keys(photos).length) said.push(t("card.learned"));
  return labels.length
    ? [text("p", said.join(" ")), labels.length > MANY ? folded(t("all", { count: labels.length }), list) : list]
    : [text("p", t("card.unnamed"))];
}

const folded = (title, content) => element("details", {}, text("summary", title), content);

function seen({ input, explains }, card) {
  const way = [t(`card.${input.fit}`), card.input?.interpolation].filter(Boolean).join(", ");
  return [
    [t("card.size"), t("card.pixels", { width: input.width, height: input.height, way })],
    [t("card.explains"), t(explains ? "card.yes" : "card.no")],
  ];
}

function made({ task, backbone, training, temperature, libraries, created }) {
  const rows = [];
  if (backbone) rows.push([t("card.backbone"), t("card.weights", { name: backbone.name, weights: backbone.weights })]);
  const counts = task === "multi-label" ? {} : training?.photos ?? {}; // a photo counts for each of its labels
  for (const [split, classes] of Object.entries(counts)) {
    const total = typeof classes === "number" ? classes : Object.values(classes ?? {}).reduce((sum, one) => sum + one, 0);
    rows.push([t("card.photos", { split }), number(total)]);
  }
  rows.push(...plain(training));
  if (typeof temperature === "number") rows.push([t("card.temperature"), temperature.toPrecision(3)]);
  if (libraries) rows.push([t("card.libraries"), Object.entries(libraries).map((pair) => pair.join(" ")).join(", ")]);
  if (created) rows.push([t("card.created"), new Date(created).toLocaleString(language, { dateStyle: "long", timeStyle: "short" })]);
  return rows;
}

function settings({ training }) {
  const rows = plain(training?.settings);
  return rows.length ? folded(t("card.settings"), facts(rows)) : null;
}

/** Rows for values that are text, numbers or booleans. */
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

/** The readable name of a setting: `Batch size` for `batch_size`. */
function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
