// Which model and version is asked, out of what is served.

import { call, modelPath } from "./api.js";
import { byId } from "./dom.js";

/** The two lists in the head of the page. Sends `change` when what is asked is another model, version or card. */
export class Models extends EventTarget {
  list = [];
  detail = null;

  #model = byId("model");
  #version = byId("version");
  #loading = null;

  constructor() {
    super();
    this.#model.addEventListener("change", () => this.#chosen(true));
    this.#version.addEventListener("change", () => this.#chosen(false));
  }

  /** Name of the model that is asked; empty until it is known. */
  get name() {
    return this.#model.value;
  }

  /** Version that was chosen, as text; empty for the newest. */
  get version() {
    return this.#version.value;
  }

  /** Query that asks for the chosen version. */
  get query() {
    return this.version ? `?version=${this.version}` : "";
  }

  /** Reads what is served; the choice stays where it still exists. */
  load() {
    this.#loading ??= this.#read().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #read() {
    this.list = (await call("/api/v1/models")).models;
    const chosen = this.name || this.list.find((one) => one.default)?.name;
    options(this.#model, this.list.map((one) => [one.name, one.available ? one.name : `${one.name} (not available)`]), chosen);
    this.#fillVersions(this.version);
    await this.#describe();
  }

  #fillVersions(chosen) {
    const versions = this.list.find((one) => one.name === this.name)?.versions ?? [];
    const available = versions.filter((one) => one.state === "available").map((one) => String(one.version));
    const newest = available.length ? `newest (${available[0]})` : "newest";
    const each = available.length > 1 ? available.map((one) => [one, one]) : [];
    options(this.#version, [["", each.length ? newest : available[0] ?? "none"], ...each], chosen);
  }

  async #chosen(model) {
    if (model) this.#fillVersions("");
    try {
      await this.#describe();
    } catch {
      this.detail = null; // the reason is said where a photo is asked
      this.dispatchEvent(new Event("change"));
    }
  }

  async #describe() {
    const [name, version] = [this.name, this.version];
    const detail = await call(modelPath(name) + this.query);
    if (name !== this.name || version !== this.version) return; // chosen anew meanwhile
    this.detail = detail;
    this.dispatchEvent(new Event("change"));
  }
}

function options(select, pairs, chosen) {
  const values = pairs.map(([value, text]) => new Option(text, value, false, value === chosen));
  select.replaceChildren(...values);
  select.disabled = pairs.length < 2;
}
