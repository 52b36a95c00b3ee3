// The choice of the model and version.

import { call, modelPath } from "./api.js";
import { byId, language, t } from "./page.js";

const COMING = ["start", "loading"]; // states of versions that will be available

/**
 * The two lists in the header. Sends `change` if the chosen model, version or card changes, and `missing` with a message if
 * what the page's address asks for is not there.
 */
export class Models extends EventTarget {
  list = [];
  detail = null;

  #model = byId("model");
  #version = byId("version");
  #loading = null;
  #wanted = new URLSearchParams(location.search); // model and version: of the address, then those that are chosen
  #linked = true; // until the user chooses, or the link is followed

  constructor() {
    super();
    this.#model.addEventListener("change", () => this.#chosen(true));
    this.#version.addEventListener("change", () => this.#chosen(false));
  }

  /** Name of the chosen model; empty until it is known. */
  get name() {
    return this.#model.value;
  }

  /** The chosen version as text; empty for the newest. */
  get version() {
    return this.#version.value;
  }

  /** Words for the chosen model. */
  get words() {
    const noun = this.detail?.card?.noun || "";
    const dogs = /\bdogs?\b/i.test(noun);
    const count = this.detail?.labels.length ?? 0;
    const classes = dogs ? t("classes.dogs", { count }) : language === "en" && noun ? counted(count, noun) : t("classes.any", { count });
    const several = this.detail?.multi_label;
    const about = count < 2 ? "about" : several ? "about.several" : dogs ? "about.dogs" : "about.classes";
    return { noun, dogs, question: this.#question(noun, dogs), classes, about: t(about, { classes }) };
  }

  /** The question on the card. Cards are in English, so other languages have their own question about dogs. */
  #question(noun, dogs) {
    const written = this.detail?.card?.question;
    if (this.detail?.multi_label) return written || t("question");
    if (dogs) return (language === "en" && written) || t("question.dogs");
    return written || (noun ? t("question.noun", { noun }) : t("question"));
  }

  /** Query string for the chosen version. */
  get query() {
    return this.version ? `?version=${this.version}` : "";
  }

  /** Loads the served models. Keeps the choice if it still exists. */
  load() {
    this.#loading ??= this.#read().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #read() {
    this.list = (await call("/api/v1/models")).models;
    const first = this.list.find((one) => one.default)?.name;
    const [name, version] = [this.#wanted.get("model") ?? (this.name || first), this.#wanted.get("version") ?? ""];
    const model = this.list.find((one) => one.name === name);
    const chosen = model ? name : first;
    options(this.#model, this.list.map((one) => [one.name, one.available ? one.name : t("notAvailable", { name: one.name })]), chosen);
    const found = this.#fillVersions(model ? version : "") && Boolean(model);
    const state = model?.versions.find((one) => String(one.version) === version)?.state;
    const coming = model && !found && (!model.available || COMING.includes(state));
    const missing = this.#linked && !found && !coming && name;
    if (!coming) {
      this.#linked = false;
      if (this.#wanted.has("model") || this.#wanted.has("version")) this.#settle();
    }
    try {
      await this.#describe();
    } finally {
      const wanted = version ? t("by", { name, version }) : name;
      if (missing) this.dispatchEvent(new CustomEvent("missing", { detail: t("linkMissing", { name: wanted }) }));
    }
  }

  /** Notes what is chosen, also in the address, so that it can be shared. */
  #settle() {
    this.#wanted = new URLSearchParams({ model: this.name, ...(this.version && { version: this.version }) });
    history.replaceState(null, "", `?${this.#wanted}${location.hash}`);
  }

  /** Fills the list of versions. Returns whether the chosen one is there. */
  #fillVersions(chosen) {
    const versions = this.list.find((one) => one.name === this.name)?.versions ?? [];
    const available = versions.filter((one) => one.state === "available").map((one) => String(one.version));
    const [newest] = available;
    const only = [chosen === newest ? newest : "", newest ?? t("noVersion")]; // a link may ask for the only version
    const several = [["", t("newest", { version: newest })], ...available.map((one) => [one, one])];
    options(this.#version, available.length > 1 ? several : [only], chosen);
    return !chosen || available.includes(chosen);
  }

  async #chosen(model) {
    if (model) this.#fillVersions("");
    this.#linked = false;
    this.#settle();
    try {
      await this.#describe();
    } catch {
      this.detail = null; // the reason is shown when a photo is sent
      this.dispatchEvent(new Event("change"));
    }
  }

  async #describe() {
    const [name, version] = [this.name, this.version];
    const detail = await call(modelPath(name) + this.query);
    if (name !== this.name || version !== this.version) return; // the choice has changed meanwhile
    this.detail = detail;
    this.dispatchEvent(new Event("change"));
  }
}

/** `1 dog breed`, `118 dog breeds`, `12 species`. */
function counted(count, noun) {
  const plural = /s$/i.test(noun) ? noun : /[^aeiou]y$/i.test(noun) ? `${noun.slice(0, -1)}ies` : /(x|z|ch|sh)$/i.test(noun) ? `${noun}es` : `${noun}s`;
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}

function options(select, pairs, chosen) {
  const values = pairs.map(([value, text]) => new Option(text, value, false, value === chosen));
  select.replaceChildren(...values);
  select.disabled = pairs.length < 2;
}
