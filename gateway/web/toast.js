// A short message at the bottom of the page, also for screen readers, with at most one action.

import { byId, element, t } from "./page.js";

const PLAIN_MS = 6_000;
const UNDO_MS = 12_000;

const box = byId("toast");
let timer;
let over = () => {};

/**
 * Shows a message and replaces the previous one.
 * @param {string} text
 * @param {{name: string, run: () => void, over?: () => void}} [action] A button; `over` is called when it
 *   disappears without being pressed.
 */
export function toast(text, action) {
  close();
  place();
  const parts = [element("p", { dir: "auto" }, text)];
  if (action) {
    over = action.over ?? over;
    const button = element("button", { type: "button" }, action.name);
    button.addEventListener("click", () => {
      over = () => {};
      close();
      action.run();
    });
    parts.push(button);
  }
  const dismiss = element("button", { type: "button", className: "dismiss", ariaLabel: t("dismiss") }, "×");
  dismiss.addEventListener("click", close);
  box.replaceChildren(...parts, dismiss);
  box.showPopover?.();
  box.dataset.shown = "";
  const wait = () => (timer = setTimeout(close, action ? UNDO_MS : PLAIN_MS));
  box.onpointerenter = box.onfocusin = () => clearTimeout(timer);
  box.onpointerleave = box.onfocusout = () => (clearTimeout(timer), wait());
  wait();
}

/** Moves the message into the open dialog, if there is one: nothing outside of it can be reached. */
function place() {
  const dialog = document.querySelector("dialog:modal");
  (dialog ?? document.body).append(box);
  dialog?.addEventListener("close", () => {
    place();
    if ("shown" in box.dataset) box.showPopover?.();
  }, { once: true });
}

function close() {
  clearTimeout(timer);
  box.hidePopover?.();
  delete box.dataset.shown;
  box.replaceChildren();
  const ended = over;
  over = () => {};
  ended();
}
