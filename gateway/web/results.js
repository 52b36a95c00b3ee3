// The set of photos: its tiles in a grid or grouped, its progress, what is shown and what is saved.

import { byId, element } from "./dom.js";
import { asCsv, asJson, save } from "./download.js";
import { dropTile, updateTile } from "./tile.js";
import { byHeading, counted, heading } from "./words.js";

const REDRAW_MS = 120; // hundreds of answers a second change the counts no more often than this

/** All photos of the page, in the order in which they came. */
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
    byId("csv").addEventListener("click", () => save(asCsv(this.photos), "breeds.csv", "text/csv;charset=utf-8"));
    byId("json").addEventListener("click", () => save(asJson(this.photos), "breeds.json", "application/json"));
  }

  /** Takes photos in; each has its tile already. */
  add(photos) {
    this.photos.push(...photos);
    this.redraw();
  }

  /** Photos in a state. */
  inState(state) {
    return this.photos.filter((photo) => photo.state === state);
  }

  /** Says that a photo's state changed; drawn together with others a moment later. */
  changed(photo) {
    this.#changed.add(photo);
    const wait = Math.max(0, REDRAW_MS - (performance.now() - this.#drawn));
    this.#timer ??= setTimeout(() => requestAnimationFrame(() => this.redraw()), wait);
  }

  /** Takes photos out, and their tiles with them. */
  remove(photos) {
    const gone = new Set(photos);
    this.photos = this.photos.filter((photo) => !gone.has(photo));
    for (const photo of photos) {
      this.#changed.delete(photo);
      dropTile(photo);
    }
    this.redraw();
  }

  /** Draws what changed. */
  redraw() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#drawn = performance.now();
    for (const photo of this.#changed) updateTile(photo);
    this.#changed.clear();
    document.body.dataset.photos = this.photos.length ? "some" : "none";
    this.#place();
    this.#count();
    this.#show();
  }

  /** Puts each tile into its group; without grouping there is one. */
  #place() {
    const grouped = this.#group.checked;
    for (const photo of this.photos) {
      const name = grouped ? heading(photo) : "";
      const list = this.#groups.get(name) ?? this.#makeGroup(name);
      if (photo.tile.parentElement !== list) list.append(photo.tile);
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
    const unsure = headings.get("Not sure") ?? 0;
    const total = this.photos.length;
    const settled = total - states.waiting - states.working;
    const said = [`${states.done} of ${counted(total, "photo")} answered`];
    if (unsure) said.push(`${unsure} not sure`);
    if (states.failed) said.push(`${states.failed} failed`);
    if (states.stopped) said.push(`${states.stopped} stopped`);
    byId("count").textContent = said.join(" · ");
    const progress = byId("progress");
    progress.max = Math.max(1, total);
    progress.value = settled;
    progress.hidden = settled === total;
    byId("stop").hidden = settled === total;
    byId("resume").hidden = !states.stopped;
    byId("retry").hidden = !this.photos.some((photo) => photo.state === "failed" && !photo.error.final);
    this.#options(headings, total);
  }

  #options(headings, total) {
    const names = [...headings.keys()].sort(byHeading);
    const wanted = [["", `All (${total})`], ...names.map((name) => [name, `${name} (${headings.get(name)})`])];
    const chosen = headings.has(this.#filter.value) ? this.#filter.value : "";
    const key = JSON.stringify(wanted);
    if (this.#filter.dataset.key === key) return;
    this.#filter.dataset.key = key;
    this.#filter.replaceChildren(...wanted.map(([value, text]) => new Option(text, value, false, value === chosen)));
  }

  /** Hides what the filter leaves out. */
  #show() {
    const wanted = this.#filter.value;
    for (const photo of this.photos) {
      const hidden = wanted !== "" && heading(photo) !== wanted;
      if (photo.tile.hidden !== hidden) photo.tile.hidden = hidden;
    }
    for (const section of this.#root.children) {
      section.hidden = wanted !== "" && section.dataset.name !== "" && section.dataset.name !== wanted;
    }
  }
}
