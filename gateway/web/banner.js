// What the page says while the service cannot answer.

import { byId } from "./dom.js";

const banner = byId("service");

/** Calls `retry` when the banner's button is pressed. */
export function onRetry(retry) {
  banner.querySelector("button").addEventListener("click", retry);
}

/**
 * Shows a notice, or takes it away.
 * @param {{title: string, text: string, action: string} | null} notice
 * @returns {boolean} Whether there was one and is none any more.
 */
export function showNotice(notice) {
  const over = !notice && !banner.hidden;
  banner.hidden = !notice;
  if (!notice) return over;
  for (const [selector, words] of [["strong", notice.title], ["span", notice.text], ["button", notice.action]]) {
    const part = banner.querySelector(selector);
    if (part.textContent !== words) part.textContent = words; // a screen reader says each change once
  }
  return false;
}
