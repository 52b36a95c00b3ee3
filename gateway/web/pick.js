// The choice of the right label of a photo.

import { call, modelPath } from "./api.js";
import { plain } from "./known.js";
import { element, t } from "./page.js";

const MAX_LENGTH = 200; // of a label, as in the API

/**
 * Asks what a photo shows.
 * @param {object} answer The answer that is wrong. Its other guesses come first. `labels` are those of the model; without
 *   them, the API is asked.
 * @returns {Promise<string | null | undefined>} A label, which may be new; null for none; undefined if cancelled.
 */
export async function pickLabel({ label: wrong, model, predictions, labels }) {
  labels ??= (await call(modelPath(model.name))).labels;
  const known = new Set([...predictions.map(({ label }) => label), ...labels]);
  const dialog = element("dialog", { className: "tool known pick", ariaLabel: t("pick.title") });
  let picked;
  const choice = (text, value) => {
    const button = element("button", { type: "button", className: "quiet", dir: "auto" }, text);
    button.addEventListener("click", () => {
      picked = value();
      dialog.close();
    });
    return button;
  };
  const find = element("input", { type: "search", ariaLabel: t("pick.find"), placeholder: t("pick.find"), autocomplete: "off", maxLength: MAX_LENGTH });
  const typed = () => find.value.trim();
  const choices = [...known].filter((label) => label !== wrong).map((label) => choice(label, () => label));
  const items = choices.map((button) => element("li", {}, button));
  const fresh = Object.assign(choice("", typed), { hidden: true });
  find.addEventListener("input", () => {
    const wanted = plain(typed());
    items.forEach((item) => (item.hidden = !plain(item.textContent).includes(wanted)));
    fresh.hidden = !wanted || [...known].some((label) => plain(label) === wanted);
    fresh.textContent = t("pick.new", { label: typed() });
  });
  find.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !typed()) return;
    const found = shown();
    (found.find((button) => plain(button.textContent) === plain(typed())) ?? found[0])?.click();
  });
  const shown = () => [...choices, fresh].filter((button) => button.checkVisibility());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.isComposing) return;
    event.preventDefault();
    const stops = [find, ...shown()];
    stops[stops.indexOf(document.activeElement) + step]?.focus();
  });
  const close = element("button", { type: "button", className: "quiet" }, t("cancel"));
  close.addEventListener("click", () => dialog.close());
  const list = element("div", { className: "known-list", tabIndex: 0, role: "region", ariaLabel: t("known") }, element("ul", {}, ...items));
  dialog.append(
    element("div", { className: "known-head" }, element("h2", {}, t("pick.title")), close, find),
    list,
    element("div", { className: "row" }, fresh, choice(t("pick.none"), () => null)),
  );
  document.body.append(dialog);
  dialog.showModal();
  if (!matchMedia("(pointer: coarse)").matches) find.focus(); // on a phone, the keyboard would hide the guesses
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(picked);
    });
  });
}
