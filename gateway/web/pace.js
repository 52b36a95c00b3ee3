// Detects slow connections.

const SLOW_BYTES_PER_SECOND = 120_000; // about one megabit a second, without latency
const TELLING_BYTES = 20_000; // smaller uploads say little about the bandwidth, even without latency

/** Detects a slow connection, first from the browser's estimate, if it has one, then from the duration of uploads. */
export class Pace {
  #answered = false;
  #measured = null; // milliseconds per byte

  /** Whether anything is known about the connection. Firefox and Safari have no estimate. */
  get known() {
    return this.#answered || Boolean(navigator.connection);
  }

  /** Whether to send photos one at a time, and smaller. */
  get slow() {
    if (this.#measured !== null) return this.#measured > 1000 / SLOW_BYTES_PER_SECOND;
    const { effectiveType = "4g", saveData = false, downlink = 10 } = navigator.connection ?? {};
    return saveData || effectiveType !== "4g" || downlink < 1;
  }

  /**
   * Records an upload. Recent ones have more weight.
   * @param {number} bytes Size of the upload, times the number of uploads that shared the connection.
   * @param {number} milliseconds From the start of the upload to the answer, without the work of the server.
   */
  note(bytes, milliseconds) {
    this.#answered = true;
    if (bytes < TELLING_BYTES) return;
    const cost = Math.max(0, milliseconds - latency()) / bytes; // the mean of rates would hide slow uploads
    this.#measured = this.#measured === null ? cost : 0.5 * this.#measured + 0.5 * cost;
  }
}

/** The milliseconds of a round trip to the server: the shortest so far, since others include work of the server. */
function latency() {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const sent = entries.filter(({ transferSize }) => transferSize > 0); // others came from the cache
  return sent.length ? Math.max(0, Math.min(...sent.map(({ requestStart, responseStart }) => responseStart - requestStart))) : 0;
}
