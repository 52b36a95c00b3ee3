// The list of a model's labels, with a search field, and with facts about dog breeds.

import { element, t } from "./page.js";

/** Opens the list of a model's labels. */
export async function openKnown({ labels }, { dogs, classes }) {
  const { factsOf } = (dogs && (await import("./breeds.js").catch(() => null))) || { factsOf: () => [] }; // facts are optional
  const dialog = element("dialog", { className: "tool known", ariaLabel: t("known") });
  const find = element("input", { type: "search", ariaLabel: t("known.find"), placeholder: t("known.find"), autocomplete: "off" });
  const none = element("p", { hidden: true }, t("known.none"));
  none.setAttribute("role", "status");
  const items = labels.map((label) => {
    const facts = factsOf(label).map((fact) => element("span", {}, fact));
    return element("li", {}, element("strong", { dir: "auto" }, label), ...facts);
  });
  find.addEventListener("input", () => {
    const wanted = plain(find.value);
    for (const item of items) item.hidden = !plain(item.textContent).includes(wanted);
    none.hidden = items.some((item) => !item.hidden);
  });
  const close = element("button", { type: "button", className: "quiet" }, t("close"));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (location.hash === "#known") history.replaceState(null, "", location.pathname + location.search);
  });
  const list = element("div", { className: "known-list", tabIndex: 0, role: "region", ariaLabel: t("known") }, element("ul", {}, ...items), none);
  dialog.append(element("div", { className: "known-head" }, element("h2", {}, t("knows", { classes })), close, find), list);
  document.body.append(dialog);
  dialog.showModal();
  if (!matchMedia("(pointer: coarse)").matches) find.focus(); // on a phone, the keyboard would hide the list
  history.replaceState(null, "", "#known"); // so that the address can be shared
}

/** A text for comparison: without accents and capitals. */
export const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
