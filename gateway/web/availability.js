// Whether the chosen model can be asked now, and if not, why in words.

const FIRST_RETRY_MS = 3_000;
const LONGEST_RETRY_MS = 10_000;

/** Reads the models whenever the service says that others answer. Sends `change` when there may be news. */
export class Availability extends EventTarget {
  #service;
  #models;
  #known = null; // what answered when the models were last read
  #trouble = null; // why they cannot be read
  #reading = null;
  #timer;
  #delay = FIRST_RETRY_MS;

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

  /** Title, text and what a button offers; null when all is well or nothing is known yet. */
  get notice() {
    const { reachable, missing } = this.#service;
    if (reachable === null) return null;
    if (!reachable) return { title: "The service cannot be reached.", text: "It is tried again every few seconds.", action: "Try now" };
    const name = this.#models.name;
    const reason = name ? missing[name] : Object.values(missing)[0];
    if (reason) return { title: "Not ready yet.", text: reason, action: "Try now" };
    if (!this.#trouble) return null;
    if (this.#trouble.status === 401) return { title: "An API key is needed.", text: "Nothing can be asked without one.", action: "Enter a key" };
    return { title: "The models cannot be read.", text: this.#trouble.message, action: "Try now" };
  }

  /** Tries at once. */
  async retry() {
    await this.#service.check(); // whose news may have started to read already
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
      [this.#known, this.#trouble, this.#delay] = [available, null, FIRST_RETRY_MS];
      clearTimeout(this.#timer);
    } catch (error) {
      this.#trouble = error;
      clearTimeout(this.#timer);
      if (!error.passing) return;
      this.#timer = setTimeout(() => this.retry(), this.#delay);
      this.#delay = Math.min(this.#delay * 1.7, LONGEST_RETRY_MS);
    }
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
