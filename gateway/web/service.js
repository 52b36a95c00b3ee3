// Whether the service can answer: polled, faster while it is away.

import { keyHeaders } from "./api.js";

const CALM_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 10_000;
const PROBE_TIMEOUT_MS = 6_000;

/** Watches /readyz. Sends `change` whenever there is news. */
export class Service extends EventTarget {
  reachable = null; // null: not known yet
  available = ""; // models and versions that answer, as one string to compare
  missing = {}; // reasons by model
  nextTry = 0; // when the next probe is due, ms since the epoch

  #timer;
  #delay = FIRST_RETRY_MS;
  #probe = null;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
    addEventListener("online", () => this.check());
  }

  /** Whether a model can be asked. */
  answers(model) {
    return this.reachable === true && !(model in this.missing);
  }

  /** Probes now; calls while a probe runs share its result. */
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
      // A proxy before a gateway that is down answers too, but not like this.
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
