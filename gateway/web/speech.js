// What a screen reader is told.

import { byId } from "./dom.js";
import { counted, label, percent } from "./words.js";

const FEW = 3; // up to so many photos each answer is read out; of more, only how many

export const announce = (text) => (byId("announce").textContent = text);

/** Tells what came out, once nothing is under way any more. */
export function announceAll(photos) {
  announce(photos.length > FEW ? sum(photos) : photos.map(spoken).join(" "));
}

function sum(photos) {
  const done = photos.filter((photo) => photo.state === "done");
  const unsure = done.filter((photo) => photo.answer.label === null).length;
  const failed = photos.filter((photo) => photo.state === "failed").length;
  return `${done.length} of ${counted(photos.length, "photo")} answered, ${unsure} not sure, ${failed} failed.`;
}

function spoken({ name, state, answer, error }) {
  if (state === "failed") return `${name}: ${error.message}`;
  if (state !== "done") return `${name}: stopped.`;
  if (answer.label !== null) return `${name}: ${label(answer.label)}, ${percent(answer.confidence)} sure.`;
  return answer.looks_like ? `${name}: not sure, looks like: ${answer.looks_like}.` : `${name}: not sure.`;
}
