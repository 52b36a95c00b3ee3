// Detect slow connections.

const SLOW_BYTES_PER_SECOND = 120_000; // about one megabit a second
const TELLING_BYTES = 20_000; // smaller uploads measure latency rather than bandwidth

/** Detects a slow connection, first from the browser's estimate, then from the duration of uploads. */
export class Pace {
  #measured = null;

  /** Whether to send photos one at a time, and smaller. */
  get slow() {
    if (this.#measured !== null) return this.#measured < SLOW_BYTES_PER_SECOND;
    const { effectiveType = "4g", saveData = false, downlink = 10 } = navigator.connection ?? {};
    return saveData || effectiveType !== "4g" || downlink < 1;
  }

  /** Records an upload. Recent ones have more weight. */
  note(bytes, milliseconds) {
    if (bytes < TELLING_BYTES) return;
    const rate = (1000 * bytes) / Math.max(1, milliseconds);
    this.#measured = this.#measured === null ? rate : 0.5 * this.#measured + 0.5 * rate;
  }
}
