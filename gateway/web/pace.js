// How fast the line is.

const SLOW_BYTES_PER_SECOND = 120_000; // about one megabit a second
const TELLING_BYTES = 20_000; // less says more about the delay than about the line

/** Tells a slow line from others: by what the browser says of it, then by what uploads took. */
export class Pace {
  #measured = null;

  /** Whether photos had better go one at a time, and smaller. */
  get slow() {
    if (this.#measured !== null) return this.#measured < SLOW_BYTES_PER_SECOND;
    const { effectiveType = "4g", saveData = false, downlink = 10 } = navigator.connection ?? {};
    return saveData || effectiveType !== "4g" || downlink < 1;
  }

  /** Takes note of an upload; the newest ones count most. */
  note(bytes, milliseconds) {
    if (bytes < TELLING_BYTES) return;
    const rate = (1000 * bytes) / Math.max(1, milliseconds);
    this.#measured = this.#measured === null ? rate : 0.5 * this.#measured + 0.5 * rate;
  }
}
