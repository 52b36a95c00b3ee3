// Where photos come from: the buttons, a drop anywhere on the page, the clipboard.

import { fromFiles, fromFolder, fromTransfer } from "./collect.js";
import { byId } from "./dom.js";

const LEFT_MS = 120;

/** Calls `take` with what `collect.js` finds, whenever a person gives files. */
export function onFiles(take) {
  for (const button of document.querySelectorAll("[data-source]")) {
    button.addEventListener("click", () => byId(button.dataset.source).click());
  }
  for (const id of ["photos", "folder", "camera"]) {
    byId(id).addEventListener("change", ({ target }) => {
      take(id === "folder" ? fromFolder(target.files) : fromFiles(target.files));
      target.value = ""; // the same file may be chosen again
    });
  }
  let leaving;
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    clearTimeout(leaving);
    document.body.classList.add("over");
  });
  addEventListener("dragleave", () => {
    // Sent for every element that is crossed; a dragover follows at once unless the page was left.
    clearTimeout(leaving);
    leaving = setTimeout(() => document.body.classList.remove("over"), LEFT_MS);
  });
  addEventListener("drop", async (event) => {
    document.body.classList.remove("over");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    take(await fromTransfer(event.dataTransfer));
  });
  addEventListener("paste", async (event) => {
    if (event.clipboardData?.files.length) take(await fromTransfer(event.clipboardData));
  });
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
