// A photo and its answers.

import { call } from "./api.js";
import { prepare } from "./prepare.js";
import { normalized } from "./words.js";

const UNKNOWN_INPUT = { width: 320, height: 320, fit: "crop" };
const PREVIEW_SIDE = 1024;

export class Photo {
  state = "waiting"; // or working, done, failed, stopped
  attempts = 0;
  sent = null; // share of the upload that is complete, 0 to 1, during the upload
  answers = new Map(); // by model and version, as in the API; the last requested one is last
  explainers = new Set(); // those with heat maps
  error = null; // why the last request failed: a CallFailed
  question = ""; // of the model that answered last
  feedback = null; // makes the feedback row of an answer; null if the gateway takes no feedback
  removed = false;
  tile = null;
  thumbnail = null; // Blob that every browser can show

  #prepared = null;
  #input = null;

  /**
   * @param {File} file
   * @param {string} path Path in the chosen or dropped folder, or its name.
   */
  constructor(file, path) {
    this.file = file;
    this.path = path;
    this.name = file.name;
  }

  /** The last requested answer, or null. */
  get answer() {
    return [...this.answers.values()].at(-1) ?? null;
  }

  /** Whether the model of the last answer has heat maps. */
  get explains() {
    return this.explainers.has([...this.answers.keys()].at(-1));
  }

  /** One answer for each that says something else. */
  get different() {
    const answers = new Map();
    for (const answer of this.answers.values()) {
      const labels = answer.labels?.toSorted() ?? [answer.label ?? ""];
      const said = labels.map(normalized).join("\n");
      if (!answers.has(said)) answers.set(said, answer);
    }
    return [...answers.values()];
  }

  /** Whether the answers of several models have different labels. */
  get differs() {
    return this.different.length > 1;
  }

  /** Adds an answer, replaces a previous one of the same version, and clears the error. */
  answered(answer, explains) {
    const by = answeredBy(answer.model.name, answer.model.version);
    this.answers.delete(by);
    this.answers.set(by, answer);
    if (explains) this.explainers.add(by);
    this.error = null;
  }

  /** Whether this version of a model has answered. */
  has(name, version) {
    return this.answers.has(answeredBy(name, version));
  }

  /**
   * Prepares the photo for a model, unless it is prepared; see `prepare`.
   * @param {{width: number, height: number, fit: string}} [input] Input of the model, if known.
   * @param {boolean} [slow] Whether the connection is slow, so that the photo should be smaller.
   */
  prepared(input = UNKNOWN_INPUT, slow = false) {
    if (!this.#prepared || !covers(this.#input, input)) {
      this.#input = input;
      this.#prepared = prepare(this.file, { ...input, slow });
    }
    return this.#prepared;
  }

  /** Discards the prepared photo. It is prepared again if needed. */
  forget() {
    this.#prepared = null;
  }

  /** A small JPEG from the gateway, for formats that the browser cannot show; null if the gateway cannot decode it. */
  async preview() {
    const type = this.file.type.startsWith("image/") ? this.file.type : "application/octet-stream";
    return call(`/api/v1/preview?max_side=${PREVIEW_SIDE}`, { body: this.file, type, blob: true }).catch(() => null);
  }
}

const answeredBy = (name, version) => JSON.stringify([name, version]);

const covers = (made, wanted) =>
  made.width >= wanted.width && made.height >= wanted.height && (made.fit !== "pad" || wanted.fit === "pad");
