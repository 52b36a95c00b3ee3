// Shows a photo and its answers enlarged. Arrow keys and swipes go to the next photo.

import { byId, t } from "./page.js";
import { unfold } from "./tile.js";

const SWIPE_PIXELS = 48;

/** Shows tiles in a dialog, into which it moves them temporarily. */
export class Viewer {
  #dialog = byId("viewer");
  #photos;
  #photo = null;
  #place = document.createComment("the tile that is shown large");
  #full = "";

  /** @param {() => Photo[]} photos The photos to page through. */
  constructor(photos) {
    this.#photos = photos;
    const dialog = this.#dialog;
    dialog.addEventListener("close", () => this.#giveBack());
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog || target.matches(".stage")) this.close();
    });
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.#step(Number(button.dataset.step)));
    }
    dialog.addEventListener("keydown", ({ key, target }) => {
      if (target.matches("input, select")) return;
      if (key === "ArrowLeft") this.#step(-1);
      if (key === "ArrowRight") this.#step(1);
    });
    let start = null;
    dialog.addEventListener("touchstart", ({ touches }) => (start = touches.length === 1 ? touches[0] : null), { passive: true });
    dialog.addEventListener("touchend", ({ changedTouches: [end] }) => {
      if (!start || visualViewport.scale > 1.05) return; // enlarged with two fingers, a swipe moves the photo
      const [across, down] = [end.clientX - start.clientX, end.clientY - start.clientY];
      if (Math.abs(across) > SWIPE_PIXELS && Math.abs(across) > 2 * Math.abs(down)) this.#step(across < 0 ? 1 : -1);
    });
  }

  /** Opens a photo, or closes it if it is open. */
  open(photo) {
    if (this.#photo === photo) return this.close();
    this.#borrow(photo);
    if (!this.#dialog.open) this.#dialog.showModal();
    photo.tile.querySelector(".photo").focus();
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  #step(by) {
    const photos = this.#photos();
    const next = photos[photos.indexOf(this.#photo) + by];
    if (!next) return;
    this.#giveBack();
    this.open(next);
  }

  #borrow(photo) {
    this.#photo = photo;
    const photos = this.#photos();
    const at = photos.indexOf(photo);
    byId("viewer-place").textContent = photos.length > 1 ? t("place", { at: at + 1, count: photos.length }) : "";
    for (const button of this.#dialog.querySelectorAll("[data-step]")) {
      button.hidden = photos.length < 2;
      button.disabled = !photos[at + Number(button.dataset.step)];
    }
    photo.tile.replaceWith(this.#place);
    this.#dialog.querySelector(".stage").replaceChildren(photo.tile);
    photo.tile.querySelector(".photo").setAttribute("aria-label", t("closeLabel", { name: photo.name }));
    unfold(photo, true);
    this.#sharpen(photo);
  }

  /** Shows the file instead of its thumbnail, if the browser can. */
  async #sharpen(photo) {
    const full = URL.createObjectURL(photo.file);
    const image = new Image();
    image.src = full;
    try {
      await image.decode();
    } catch {
      return URL.revokeObjectURL(full);
    }
    if (this.#photo !== photo) return URL.revokeObjectURL(full);
    this.#full = full;
    photo.tile.querySelector(".front").src = full;
  }

  #giveBack() {
    const photo = this.#photo;
    if (!photo) return;
    this.#photo = null;
    unfold(photo, false);
    const front = photo.tile.querySelector(".front");
    if (this.#full) front.src = photo.tile.querySelector(".back").src;
    URL.revokeObjectURL(this.#full);
    this.#full = "";
    photo.tile.querySelector(".photo").setAttribute("aria-label", t("enlarge", { name: photo.name }));
    if (this.#place.isConnected) this.#place.replaceWith(photo.tile);
    else this.#place.remove();
    if (!this.#dialog.open) photo.tile.querySelector(".photo").focus();
  }
}
