// How numbers and answers are said.

const CERTAIN = 0.9; // scores from here on: "almost certainly"
const LIKELY = 0.6; // "probably"
const RIVAL = 0.4; // of the best score: a second label with so much of it is named, too

/** A score as people read it: `93 %`, but never a rounded-up 100 or a rounded-down 0. */
export function percent(score) {
  const value = score * 100;
  if (value > 99.9 && value < 100) return ">\u00a099.9\u00a0%"; // no line ends inside of a number
  if (value > 99 && value < 100) return `${(Math.floor(value * 10) / 10).toFixed(1)}\u00a0%`;
  if (value > 0 && value < 1) return "<\u00a01\u00a0%";
  return `${Math.round(value)}\u00a0%`;
}

/** `1 photo`, `2 photos`. */
export const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;

/** What is said of an answer, as `[title, sentence]`: the title is short, the sentence has the number behind it. */
export function said({ label, looks_like, confidence, predictions }) {
  const [best, second] = predictions;
  if (label === null) {
    if (looks_like) return [`Looks like ${looks_like}`, "That is nothing the model was made to name."];
    return ["Not sure", `The best guess is ${best.label}, at ${percent(confidence)} too little to name it.`];
  }
  if (confidence >= CERTAIN) return [label, `Almost certainly: ${percent(confidence)} sure.`];
  if (confidence >= LIKELY) return [label, `Probably: ${percent(confidence)} sure.`];
  if (second && second.score >= RIVAL * confidence) {
    return [`${label} or ${second.label}?`, `Maybe one, maybe the other: ${percent(confidence)} against ${percent(second.score)}.`];
  }
  return [`${label}?`, `Maybe: ${percent(confidence)} sure.`];
}

/** An answer in one line, such as `Boxer, almost certainly: 97 % sure.` */
export function line(answer) {
  const [title, sentence] = said(answer);
  return `${title.replace(/\?$/, "")}, ${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}`;
}

const UNSURE = "Not sure";
const OPEN = { failed: "No answer", stopped: "Stopped", working: "Looking", waiting: "Waiting" };
const NO_LABEL = [UNSURE, ...Object.values(OPEN)];

/** What a photo is grouped and filtered by: its label, or what is the matter instead. */
export function heading(photo) {
  if (!photo.answer) return OPEN[photo.state];
  return photo.answer.label ?? UNSURE;
}

/** Orders headings: labels by name, then what is no label. */
export const byHeading = (a, b) => NO_LABEL.indexOf(a) - NO_LABEL.indexOf(b) || a.localeCompare(b);
