// "Copy as code": the request behind an answer, in several languages.

import { keyHeaders, modelPath } from "./api.js";
import { element, t } from "./page.js";
import { snippets } from "./snippets.js";

/** Tabs with code, and a button that copies the visible code. */
export function codeTabs(request) {
  const shown = element("code");
  const copy = element("button", { type: "button", className: "primary" }, t("copy"));
  const tabs = snippets(request).map(([name, code]) => {
    const tab = element("button", { type: "button", className: "quiet" }, name);
    tab.addEventListener("click", () => choose(tab, code));
    return [tab, code];
  });
  function choose(chosen, code) {
    for (const [tab] of tabs) tab.setAttribute("aria-pressed", String(tab === chosen));
    shown.textContent = code;
    copy.textContent = t("copy");
  }
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      copy.textContent = t("copied");
    } catch {
      getSelection().selectAllChildren(shown);
      copy.textContent = t("pressCopy");
    }
  });
  choose(...tabs[0]);
  const pre = element("pre", { tabIndex: 0, role: "region", ariaLabel: t("code") }, shown);
  return element("div", {}, element("div", { className: "tabs" }, ...tabs.map(([tab]) => tab)), pre, element("div", { className: "row" }, copy));
}

/** Opens a dialog with the request of an answer. */
export function openCode({ name, version }, file) {
  const request = { path: `${modelPath(name)}/predict?version=${version}`, file, keyed: "X-API-Key" in keyHeaders() };
  const dialog = element("dialog", { className: "tool", ariaLabel: t("codeLabel") });
  const close = element("button", { type: "button", className: "quiet" }, t("close"));
  close.addEventListener("click", () => dialog.close());
  const tabs = codeTabs(request);
  tabs.querySelector(".row").append(close);
  dialog.append(element("h2", {}, t("codeTitle")), tabs);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
