// "Copy as code": the request behind an answer, in several languages.

import { keyHeaders, modelPath } from "./api.js";
import { element, t } from "./page.js";
import { snippets } from "./snippets.js";

/** Tabs with code, the one of `language` pressed, and a button that copies the visible code. */
export function codeTabs(request, language) {
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
  choose(...(tabs.find(([tab]) => tab.textContent === language) ?? tabs[0]));
  const pre = element("pre", { tabIndex: 0, role: "region", ariaLabel: t("code") }, shown);
  return element("div", {}, element("div", { className: "tabs" }, ...tabs.map(([tab]) => tab)), pre, element("div", { className: "row" }, copy));
}

/** The language of the pressed tab; undefined if there are no tabs yet. */
export const chosenTab = (part) => part.querySelector('.tabs [aria-pressed="true"]')?.textContent;

/** Opens a dialog with the requests of a photo's answers; the last one is preselected. */
export function openCode(answers, file) {
  const keyed = "X-API-Key" in keyHeaders();
  const requests = answers.map(({ model: { name, version } }) => ({ path: `${modelPath(name)}/predict?version=${version}`, file, keyed }));
  const which = element("select", {}, ...answers.map(({ model: { name, version } }, at) => new Option(t("by", { name, version: String(version) }), at)));
  which.value = answers.length - 1;
  const dialog = element("dialog", { className: "tool", ariaLabel: t("codeLabel") });
  const close = element("button", { type: "button", className: "quiet" }, t("close"));
  close.addEventListener("click", () => dialog.close());
  const shown = element("div");
  const show = () => {
    const tabs = codeTabs(requests[which.value], chosenTab(shown));
    tabs.querySelector(".row").append(close);
    shown.replaceChildren(tabs);
  };
  which.addEventListener("change", show);
  show();
  const choice = answers.length > 1 ? [element("label", { className: "which" }, t("model"), " ", which)] : [];
  dialog.append(element("h2", {}, t("codeTitle")), ...choice, shown);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
