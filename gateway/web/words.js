// Format numbers and answers.

import { language, number, t } from "./page.js";

const CERTAIN = 0.9; // scores from here on: "almost certainly"
const LIKELY = 0.6; // "probably"
const RIVAL = 0.4; // share of the best score from which the second label is mentioned

/** A score as a percentage, such as `93 %`. Never rounds up to 100 or down to 0. */
export function percent(score) {
  const value = score * 100;
  if (value > 99.9 && value < 100) return `>\u00a0${number(99.9)}\u00a0%`; // no line ends inside of a number
  if (value > 99 && value < 100) return `${number(Math.floor(value * 10) / 10)}\u00a0%`;
  if (value > 0 && value < 1) return "<\u00a01\u00a0%";
  return `${Math.round(value)}\u00a0%`;
}

/** The labels of a multi-label answer in words, such as `cat, dark and indoors`. */
const listed = (labels) => new Intl.ListFormat(language, { type: "conjunction" }).format(labels);

/** What an answer says: its label, or all labels of a multi-label answer. */
export function named({ label, labels }) {
  if (labels) return labels.length ? listed(labels) : t("noLabels");
  return label ?? t("notSure");
}

/** Title and sentence for an answer: a short title, and a sentence with the score. */
export function said(answer) {
  const { label, labels, looks_like, confidence, predictions, label_set } = answer;
  const [best, second] = predictions;
  if (labels?.length > 1) {
    const scores = predictions.filter((one) => labels.includes(one.label)).map((one) => `${one.label} ${percent(one.score)}`);
    return [named(answer), t("labels.text", { scores: listed(scores) })];
  }
  if (labels) {
    if (label === null) return [named(answer), t("noLabels.text", { label: best.label, percent: percent(confidence) })];
    const sure = confidence >= CERTAIN ? "certain" : confidence >= LIKELY ? "probably" : "maybe";
    return [label, t(sure, { percent: percent(confidence) })];
  }
  if (label === null) {
    if (looks_like) return [t("looksLike", { label: looks_like }), t("looksLike.text")];
    return [t("unsure"), t("unsure.text", { label: best.label, percent: percent(confidence) })];
  }
  if (label_set?.length === 2 || label_set?.length === 3) {
    const [first, next, third] = label_set;
    const title = third ? t("rivals.three", { first, second: next, third }) : t("rivals", { first, second: next });
    return [title, t("rivals.set", { percent: percent(confidence) })];
  }
  if (confidence >= CERTAIN) return [label, t("certain", { percent: percent(confidence) })];
  if (confidence >= LIKELY) return [label, t("probably", { percent: percent(confidence) })];
  if (!label_set && second && second.score >= RIVAL * confidence) {
    return [t("rivals", { first: label, second: second.label }), t("rivals.text", { percent: percent(confidence), other: percent(second.score) })];
  }
  return [`${label}?`, t("maybe", { percent: percent(confidence) })];
}

/** An answer as one line, such as `Boxer, almost certainly: 97 % sure.` */
export function line(answer) {
  const [title, sentence] = said(answer);
  return t("spoken", { title: title.replace(/\s*[?？]$/, ""), sentence: sentence.charAt(0).toLowerCase() + sentence.slice(1) });
}

const UNSURE = t("unsure");
const NO_LABEL = [UNSURE, t("noLabels"), ...["failed", "stopped", "working", "waiting"].map((state) => t(state))];

/** The heading for grouping and filtering a photo: its label or labels, or its problem. */
export function heading(photo) {
  if (!photo.answer) return t(photo.state);
  const { labels } = photo.answer;
  if (labels) return named({ labels: labels.toSorted() });
  return photo.answer.label ?? UNSURE;
}

/** Sorts headings: first labels by name, then others. */
export const byHeading = (a, b) => NO_LABEL.indexOf(a) - NO_LABEL.indexOf(b) || a.localeCompare(b);

/** A label for comparison: models may write the same one as `Flat-Coated Retriever` or `flat_coated_retriever`. */
export const normalized = (label) => label.toLowerCase().replace(/[_-]/g, " ");
