// The tile of a kept photo on the review page.

import { element } from "./page.js";
import { normalized, percent } from "./words.js";

const REASONS = { feedback: "Reported as wrong", versions: "Versions disagree", unknown: "Unknown", unsure: "Unsure" };
const DECISIONS = { confirmed: "confirmed", relabelled: "relabelled", discarded: "discarded", deleted: "deleted" };
const GUESSES = 3;

const time = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** The label that a reviewer confirms: that of the newest answer. */
export const answered = (photo) => photo.answers[0].label;

/**
 * Draws a photo into its tile; the picture in it stays.
 * @param {HTMLElement} tile
 * @param {object} photo As in the review API.
 * @param {Record<string, () => void>} act Called by the buttons: confirm, relabel, discard, remove, undo.
 */
export function draw(tile, photo, act) {
  const [answer] = photo.answers;
  tile.dataset.status = photo.status;
  tile.ariaLabel = describe(photo);
  const parts = [
    element("ul", { className: "badges" }, ...photo.reasons.map((reason) => element("li", {}, REASONS[reason]))),
    heading(photo, answer),
    element("p", { className: "detail" }, `${answer.model} ${answer.version}, ${time.format(new Date(photo.time))}`),
    element("ul", { className: "bars" }, ...answer.scores.slice(0, GUESSES).map(bar)),
    ...said([...photo.answers.slice(1), ...photo.shadows]
      .filter((other) => normalized(allLabels(other)) !== normalized(allLabels(answer)))
      .map((other) => [`${other.model} ${other.version}`, allLabels(other)])),
    ...said(photo.feedback.map(({ verdict, label, key }) => [key ?? "Somebody", verdict === "none" ? "none of these" : label ?? "right"])),
    ...photo.reviews.map((review) => decided(review)),
    actions(photo, act),
  ];
  tile.querySelector(".answer").replaceChildren(...parts.filter((part) => part.tagName !== "UL" || part.children.length));
}

function heading(photo, { label, labels, scores }) {
  if (labels) return element("h2", {}, element("bdi", {}, labels.join(", ") || "None of the labels"));
  const unknown = photo.looks_like ? `Unknown, like ${photo.looks_like}` : "Unknown";
  const score = scores.length ? element("span", {}, percent(scores[0][1])) : "";
  return label === null ? element("h2", {}, unknown) : element("h2", {}, element("bdi", {}, label), " ", score);
}

function allLabels({ label, labels }) {
  return labels ? [...labels].sort().join(", ") || "none of the labels" : label ?? "unknown";
}

function bar([label, score]) {
  const share = element("i");
  share.style.setProperty("--share", score);
  return element("li", {}, element("span", { dir: "auto" }, label), element("span", {}, percent(score)), share);
}

/** A line for each pair of who said something and what; one for those that are the same. */
function said(pairs) {
  const times = new Map();
  for (const pair of pairs.map((pair) => JSON.stringify(pair))) times.set(pair, (times.get(pair) ?? 0) + 1);
  return Array.from(times, ([pair, count]) => {
    const [who, what] = JSON.parse(pair);
    return element("p", { className: "said" }, `${who} said${count > 1 ? ` ${count} times` : ""}: `, element("strong", { dir: "auto" }, what));
  });
}

function decided({ key, review, label }) {
  const what = label === null ? [] : [": ", element("strong", { dir: "auto" }, label)];
  return element("p", { className: "said decision" }, `${key} ${DECISIONS[review]} it`, ...what);
}

function describe(photo) {
  const answer = photo.answers[0].label ?? "unknown";
  const state = photo.decision ? `${photo.decision.review}${photo.decision.label ? ` as ${photo.decision.label}` : ""}` : "not reviewed";
  return `Photo, answered ${answer}, ${state}`;
}

function actions(photo, act) {
  const label = answered(photo);
  const row = element("div", { className: "actions", role: "group", ariaLabel: "Decide" });
  const add = (text, name, className = "") => {
    const button = element("button", { type: "button", className }, text);
    button.addEventListener("click", act[name]);
    row.append(button);
  };
  if (!photo.answers[0].labels) {
    // There is no correction of several labels yet.
    if (label !== null) add("Confirm", "confirm");
    add(label === null ? "It is\u00a0…" : "Relabel\u00a0…", "relabel");
  }
  add("Discard", "discard");
  if (photo.decision) add("Undo", "undo", "quiet");
  add("Delete", "remove", "quiet delete");
  return row;
}
