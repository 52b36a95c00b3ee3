// The results: tiles in a grid or in groups, progress, filter, and download.

import { byId, element, t } from "./page.js";
import { asCsv, asJson, save } from "./download.js";
import { dropTile, unfold, updateTile } from "./tile.js";
import { byHeading, heading } from "./words.js";

const DIFFER = " differ"; // no label starts with a space
const TOOLS_FROM = 4; // number of photos from which filters are shown
const WIDE = matchMedia("(min-width: 46rem)");
const REDRAW_MS = 120; // minimum time between updates of the counts

/** All photos of the page, in order of arrival. */
export class Results {
  photos = [];

  #root = byId("tiles");
  #filter = byId("filter");
  #group = byId("group");
  #changed = new Set();
  #timer = null;
  #groups = new Map();
  #drawn = 0;

  constructor() {
    this.#filter.addEventListener("change", () => this.#show());
    this.#group.addEventListener("change", () => this.redraw());
    byId("csv").addEventListener("click", () => save(asCsv(this.shown), "answers.csv", "text/csv;charset=utf-8"));
    byId("json").addEventListener("click", () => save(asJson(this.shown), "answers.json", "application/json"));
  }

  /** Adds photos with their tiles. Returns whether a filter was cleared because it would have hidden them. */
  add(photos) {
    const reset = this.#filter.value !== "";
    this.#filter.value = "";
    if (this.photos.length === 1) unfold(this.photos[0], false); // it was large, and becomes one of several
    this.photos.push(...photos);
    this.redraw();
    return reset;
  }

  /** Restores removed photos. */
  restore(photos) {
    for (const photo of photos) photo.tile.remove();
    this.photos = photos;
    this.redraw();
  }

  /** Photos that match the filter. */
  get shown() {
    return this.photos.filter((photo) => this.#wanted(photo));
  }

  /** Failed photos that may succeed if they are sent again. */
  retryable() {
    return this.photos.filter(({ state, error }) => error && !error.final && (state === "failed" || state === "done"));
  }

  /** Photos in a state. */
  inState(state) {
    return this.photos.filter((photo) => photo.state === state);
  }

  /** Schedules an update after the state of a photo has changed. */
  changed(photo) {
    this.#changed.add(photo);
    const wait = Math.max(0, REDRAW_MS - (performance.now() - this.#drawn));
    this.#timer ??= setTimeout(() => requestAnimationFrame(() => this.redraw()), wait);
  }

  /** Removes photos and their tiles. */
  remove(photos) {
    const gone = new Set(photos);
    this.photos = this.photos.filter((photo) => !gone.has(photo));
    for (const photo of photos) {
      this.#changed.delete(photo);
      dropTile(photo);
    }
    this.redraw();
  }

  /** Updates the page. */
  redraw() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#drawn = performance.now();
    for (const photo of this.#changed) {
      updateTile(photo);
      if (this.photos.length === 1 && WIDE.matches) unfold(photo, true);
    }
    this.#changed.clear();
    const many = this.photos.length;
    document.body.dataset.photos = many >= TOOLS_FROM ? "many" : many > 1 ? "few" : many ? "one" : "none";
    this.#place();
    this.#count();
    this.#show();
  }

  /** Moves each tile into its group; without grouping, there is a single group. */
  #place() {
    const grouped = this.#group.checked;
    for (const photo of this.photos) {
      const name = grouped ? heading(photo) : "";
      const list = this.#groups.get(name) ?? this.#makeGroup(name);
      if (photo.tile.parentElement !== list && !photo.tile.closest("dialog")) list.append(photo.tile);
    }
    for (const [name, list] of this.#groups) {
      if (list.childElementCount) {
        if (name) list.previousElementSibling.querySelector("span").textContent = String(list.childElementCount);
        continue;
      }
      list.parentElement.remove();
      this.#groups.delete(name);
    }
  }

  #makeGroup(name) {
    const title = name ? [element("h2", {}, name, " ", element("span"))] : [];
    const list = element("ul", { className: "grid" });
    const section = element("section", {}, ...title, list);
    section.dataset.name = name;
    const after = [...this.#root.children].find((other) => byHeading(other.dataset.name, name) > 0);
    this.#root.insertBefore(section, after ?? null);
    this.#groups.set(name, list);
    return list;
  }

  #count() {
    const states = { waiting: 0, working: 0, done: 0, failed: 0, stopped: 0 };
    const headings = new Map();
    for (const photo of this.photos) {
      states[photo.state]++;
      const name = heading(photo);
      headings.set(name, (headings.get(name) ?? 0) + 1);
    }
    const unsure = headings.get(t("unsure")) ?? 0;
    const answered = this.photos.filter((photo) => photo.answer).length;
    const total = this.photos.length;
    const settled = total - states.waiting - states.working;
    const said = [t("answered", { answered, count: total })];
    if (unsure) said.push(t("unsureCount", { count: unsure }));
    if (states.failed) said.push(t("failedCount", { count: states.failed }));
    if (states.stopped) said.push(t("stoppedCount", { count: states.stopped }));
    // Each part stays on one line, if there is room for it.
    const parts = said.map((part, at) => element("span", {}, at < said.length - 1 ? `${part} ·` : part));
    byId("count").replaceChildren(...parts.flatMap((part) => [part, " "]).slice(0, -1));
    const progress = byId("progress");
    progress.max = Math.max(1, total);
    progress.value = settled;
    progress.hidden = settled === total;
    byId("stop").hidden = settled === total;
    byId("resume").hidden = !states.stopped;
    byId("retry").hidden = !this.retryable().length;
    this.#options(headings, total);
  }

  #options(headings, total) {
    const names = [...headings.keys()].sort(byHeading);
    const wanted = [["", t("all", { count: total })], ...names.map((name) => [name, `${name} (${headings.get(name)})`])];
    const differ = this.photos.filter((photo) => photo.differs).length;
    if (differ) wanted.push([DIFFER, t("differCount", { count: differ })]);
    const chosen = wanted.some(([value]) => value === this.#filter.value) ? this.#filter.value : "";
    const key = JSON.stringify(wanted);
    if (this.#filter.dataset.key === key) return;
    this.#filter.dataset.key = key;
    this.#filter.replaceChildren(...wanted.map(([value, text]) => new Option(text, value, false, value === chosen)));
  }

  #wanted(photo) {
    const wanted = this.#filter.value;
    return wanted === "" || (wanted === DIFFER ? photo.differs : heading(photo) === wanted);
  }

  /** Hides photos that do not match the filter. */
  #show() {
    for (const photo of this.photos) {
      const hidden = !this.#wanted(photo);
      if (photo.tile.hidden !== hidden) photo.tile.hidden = hidden;
    }
    for (const section of this.#root.children) section.hidden = !section.querySelector(".tile:not([hidden])");
  }
}
