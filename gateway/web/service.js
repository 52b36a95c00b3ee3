// Polls whether the service and the chosen model are ready, and shows a notice if they are not.

import { keyHeaders } from "./api.js";
import { byId, t } from "./page.js";

const CALM_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 10_000;
const FIRST_READ_MS = 3_000;
const LONGEST_READ_MS = 10_000;
const PROBE_TIMEOUT_MS = 6_000;

/** Polls /readyz. Sends `change` if the state changes. */
export class Service extends EventTarget {
  reachable = null; // null if not known yet
  available = ""; // ready models and versions, as a string for comparison
  missing = {}; // reasons by model
  nextTry = 0; // time of the next probe, in ms since the epoch

  #timer;
  #delay = FIRST_RETRY_MS;
  #probe = null;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
    addEventListener("online", () => this.check());
  }

  /** Whether a model is ready. */
  answers(model) {
    return this.reachable === true && !(model in this.missing);
  }

  /** Probes now. Concurrent calls share a probe. */
  check() {
    this.#probe ??= this.#ask().finally(() => (this.#probe = null));
    return this.#probe;
  }

  async #ask() {
    clearTimeout(this.#timer);
    const before = JSON.stringify([this.reachable, this.missing, this.available]);
    try {
      const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
      const answer = await fetch("/readyz", { cache: "no-store", headers: keyHeaders(), signal });
      const body = await answer.json();
      // A proxy in front of a stopped gateway answers as well, but with another body.
      this.reachable = body.status === "ready" || body.code === "not_ready";
      this.missing = body.missing ?? {};
      this.available = JSON.stringify(body.models ?? {});
    } catch {
      this.reachable = false;
      this.missing = {};
    }
    const well = this.reachable && !Object.keys(this.missing).length;
    this.#delay = well ? FIRST_RETRY_MS : Math.min(this.#delay * 1.7, LONGEST_RETRY_MS);
    const wait = (well ? CALM_MS : this.#delay) * (0.9 + 0.2 * Math.random());
    this.nextTry = Date.now() + wait;
    this.#timer = setTimeout(() => document.hidden || this.check(), wait);
    const news = before !== JSON.stringify([this.reachable, this.missing, this.available]);
    if (news || !well) this.dispatchEvent(new Event("change"));
  }
}

/** Loads the models if the ready ones change. Sends `change` if the notice may have changed. */
export class Availability extends EventTarget {
  #service;
  #models;
  #known = null; // ready models when the list was last loaded
  #trouble = null; // why the list cannot be loaded
  #reading = null;
  #timer;
  #delay = FIRST_READ_MS;

  constructor(service, models) {
    super();
    this.#service = service;
    this.#models = models;
    service.addEventListener("change", async () => {
      if (service.reachable && this.#known !== service.available) await this.#read();
      this.#tell();
    });
  }

  /** Whether a photo can be sent. */
  get open() {
    return !this.#trouble && this.#models.name !== "" && this.#service.answers(this.#models.name);
  }

  /** Title, text and button of the notice; null if there is no problem or nothing is known yet. */
  get notice() {
    const { reachable, missing } = this.#service;
    if (reachable === null) return null;
    if (!reachable) return { title: t("unreachable"), text: t("unreachable.text"), action: t("tryNow") };
    const name = this.#models.name;
    const reason = name ? missing[name] : Object.values(missing)[0];
    if (reason) return { title: t("notReady"), text: reason, action: t("tryNow") };
    if (!this.#trouble) return null;
    if (this.#trouble.status === 401) return { title: t("keyNeeded"), text: t("keyNeeded.text"), action: t("enterKey") };
    return { title: t("modelsUnread"), text: this.#trouble.message, action: t("tryNow") };
  }

  /** Tries again now. */
  async retry() {
    await this.#service.check(); // which may have started to load the list
    if (this.#trouble) await (this.#reading ?? this.#read());
    this.#tell();
  }

  #read() {
    this.#reading = this.#load().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #load() {
    const { available } = this.#service;
    try {
      await this.#models.load();
      [this.#known, this.#trouble, this.#delay] = [available, null, FIRST_READ_MS];
      clearTimeout(this.#timer);
    } catch (error) {
      this.#trouble = error;
      clearTimeout(this.#timer);
      if (!error.passing) return;
      this.#timer = setTimeout(() => this.retry(), this.#delay);
      this.#delay = Math.min(this.#delay * 1.7, LONGEST_READ_MS);
    }
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Calls `retry` if the button of the notice is pressed. */
export function onRetry(retry) {
  byId("service").querySelector("button").addEventListener("click", retry);
}

/**
 * Shows or removes the notice.
 * @param {{title: string, text: string, action: string} | null} notice
 * @returns {boolean} Whether a notice was removed.
 */
export function showNotice(notice) {
  const banner = byId("service");
  const over = !notice && !banner.hidden;
  banner.hidden = !notice;
  if (!notice) return over;
  for (const [selector, words] of [["strong", notice.title], ["span", notice.text], ["button", notice.action]]) {
    const part = banner.querySelector(selector);
    if (part.textContent !== words) part.textContent = words; // so that screen readers announce each change once
  }
  return false;
}
