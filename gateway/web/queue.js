// The queue of photos: a few at a time, with stop, retries, and a pause while the service is unavailable.

const ATTEMPTS = 4;

/**
 * Processes photos in order.
 *
 * Sends `change` with the photo as detail if its state changes: `waiting`, `working`, `done`, `failed` or `stopped`.
 * Sends `idle` if no photo is waiting or in progress.
 */
export class Queue extends EventTarget {
  #waiting = [];
  #working = new Map();
  #held = true;

  /**
   * @param {(photo: object, signal: AbortSignal) => Promise<void>} ask Processes a photo, or throws.
   * @param {(error: Error) => Promise<boolean>} away Whether an error means that the service is
   *   unavailable, so that photos must wait.
   * @param {() => number} atOnce Maximum number of photos in progress.
   */
  constructor(ask, away, atOnce) {
    super();
    this.ask = ask;
    this.away = away;
    this.atOnce = atOnce;
  }

  /** Whether a photo is waiting or in progress. */
  get busy() {
    return this.#waiting.length + this.#working.size > 0;
  }

  add(photos) {
    for (const photo of photos) {
      photo.attempts = 0;
      this.#state(photo, "waiting");
    }
    this.#waiting.push(...photos);
    this.#pump();
  }

  /** Removes a photo in any state. */
  remove(photo) {
    const waited = this.#waiting.length;
    this.#waiting = this.#waiting.filter((one) => one !== photo);
    this.#working.get(photo)?.abort();
    if (this.#waiting.length < waited) this.#rest();
  }

  /** Stops all photos without an answer. */
  stop() {
    const dropped = this.#waiting;
    this.#waiting = [];
    for (const photo of dropped) this.#stopped(photo);
    for (const controller of this.#working.values()) controller.abort();
    if (dropped.length) this.#rest();
  }

  /** Pauses and resumes the queue. */
  set held(held) {
    this.#held = held;
    this.#pump();
  }

  #state(photo, state) {
    photo.state = state;
    this.dispatchEvent(new CustomEvent("change", { detail: photo }));
  }

  #pump() {
    while (!this.#held && this.#working.size < this.atOnce() && this.#waiting.length) this.#start(this.#waiting.shift());
  }

  #rest() {
    if (!this.busy) this.dispatchEvent(new Event("idle"));
  }

  async #start(photo) {
    const controller = new AbortController();
    this.#working.set(photo, controller);
    this.#state(photo, "working");
    try {
      await this.ask(photo, controller.signal);
      this.#state(photo, "done");
    } catch (error) {
      await this.#failed(photo, error, controller.signal);
    } finally {
      this.#working.delete(photo);
      this.#pump();
      this.#rest();
    }
  }

  async #failed(photo, error, signal) {
    if (signal.aborted) return this.#stopped(photo);
    if (error.passing) {
      const away = error.away && (await this.away(error));
      if (away) photo.attempts = 0; // not due to the photo; it waits until the queue resumes
      else if (++photo.attempts >= ATTEMPTS) return this.#fail(photo, error);
      else await pause(1000 * error.retryAfter, signal);
      if (signal.aborted) return this.#stopped(photo);
      this.#waiting.unshift(photo);
      return this.#state(photo, "waiting");
    }
    this.#fail(photo, error);
  }

  #fail(photo, error) {
    photo.error = error;
    this.#state(photo, photo.answers.size ? "done" : "failed"); // keep the answers of other models
  }

  #stopped(photo) {
    this.#state(photo, photo.answers.size ? "done" : "stopped");
  }
}

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
