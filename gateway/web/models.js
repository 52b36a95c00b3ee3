// The choice of the model and version.

import { call, modelPath } from "./api.js";
import { byId, language, t } from "./page.js";

/** The two lists in the header. Sends `change` if the chosen model, version or card changes. */
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
    const linked = new URLSearchParams(location.search);
    const asked = this.list.some((one) => one.name === linked.get("model")) ? linked.get("model") : "";
    const chosen = this.name || asked || this.list.find((one) => one.default)?.name;
    const first = !this.name;
    options(this.#model, this.list.map((one) => [one.name, one.available ? one.name : t("notAvailable", { name: one.name })]), chosen);
    this.#fillVersions(first ? linked.get("version") ?? "" : this.version);
    await this.#describe();
  }

  #fillVersions(chosen) {
    const versions = this.list.find((one) => one.name === this.name)?.versions ?? [];
    const available = versions.filter((one) => one.state === "available").map((one) => String(one.version));
    const newest = available.length ? t("newest", { version: available[0] }) : "";
    const each = available.length > 1 ? available.map((one) => [one, one]) : [];
    options(this.#version, [["", each.length ? newest : available[0] ?? t("noVersion")], ...each], chosen);
  }

  async #chosen(model) {
    if (model) this.#fillVersions("");
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
