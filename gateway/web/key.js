// Asks for an API key.

import { byId, t } from "./page.js";

/** Opens the dialog; returns the key, or null if the user cancels. */
export function askForKey(refused) {
  const dialog = byId("key");
  const value = byId("key-value");
  byId("key-title").textContent = t(refused ? "key.refused" : "key.title");
  value.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? value.value : null), { once: true });
  });
}
