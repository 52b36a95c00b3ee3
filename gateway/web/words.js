// How numbers and answers are said.

/** A score as people read it: `93 %`, but never a rounded-up 100 or a rounded-down 0. */
export function percent(score) {
  const value = score * 100;
  if (value > 99.9 && value < 100) return "> 99.9 %";
  if (value > 99 && value < 100) return `${(Math.floor(value * 10) / 10).toFixed(1)} %`;
  if (value > 0 && value < 1) return "< 1 %";
  return `${Math.round(value)} %`;
}

/** A folder's name for a class, as people write it: `american_staffordshire` to `American staffordshire`. */
export function label(name) {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** `1 photo`, `2 photos`. */
export const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;

const UNSURE = "Not sure";
const OPEN = { failed: "No answer", stopped: "Stopped", working: "Looking", waiting: "Waiting" };
const NO_BREED = [UNSURE, ...Object.values(OPEN)];

/** The heading of a photo's tile, which is also what it is grouped by. */
export function heading(photo) {
  if (photo.state !== "done") return OPEN[photo.state];
  return photo.answer.label === null ? UNSURE : label(photo.answer.label);
}

/** Orders headings: breeds by name, then what is no breed. */
export const byHeading = (a, b) => NO_BREED.indexOf(a) - NO_BREED.indexOf(b) || a.localeCompare(b);
