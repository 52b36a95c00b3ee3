// One photo and what has become of it.

import { call } from "./api.js";
import { prepare } from "./prepare.js";

const UNKNOWN_INPUT = { width: 320, height: 320, fit: "crop" };
const PREVIEW_SIDE = 1024;

export class Photo {
  state = "waiting"; // or working, done, failed, stopped
  attempts = 0;
  sent = null; // how much of it was uploaded, 0 to 1, while that goes on
  answers = new Map(); // by model and version, as the API gives them; the last one asked for comes last
  explainers = new Set(); // which of them can say why
  error = null; // why the last question had no answer: a CallFailed
  removed = false;
  tile = null;
  thumbnail = null; // Blob that every browser shows

  #prepared = null;
  #input = null;

  /**
   * @param {File} file
   * @param {string} path Where it was in the folder that was chosen or dropped; else its name.
   */
  constructor(file, path) {
    this.file = file;
    this.path = path;
    this.name = file.name;
  }

  /** The answer of the model that was asked last, or null. */
  get answer() {
    return [...this.answers.values()].at(-1) ?? null;
  }

  /** Whether the model that gave the last answer can say why. */
  get explains() {
    return this.explainers.has([...this.answers.keys()].at(-1));
  }

  /** Whether models give it different labels. */
  get differs() {
    return new Set(Array.from(this.answers.values(), (one) => one.label)).size > 1;
  }

  /** Takes a model's answer in, in place of that version's former one; an error that went before is over. */
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
   * Makes the photo ready for a model, unless it is; see `prepare`.
   * @param {{width: number, height: number, fit: string}} [input] What the model takes, where that is known.
   * @param {boolean} [slow] Whether it goes over a slow line, and is made smaller still.
   */
  prepared(input = UNKNOWN_INPUT, slow = false) {
    if (!this.#prepared || !covers(this.#input, input)) {
      this.#input = input;
      this.#prepared = prepare(this.file, { ...input, slow });
    }
    return this.#prepared;
  }

  /** Gives up what was made ready; it is made again when it is needed again. */
  forget() {
    this.#prepared = null;
  }

  /** A small JPEG by the gateway, for what this browser cannot show; null where the gateway cannot either. */
  async preview() {
    const type = this.file.type.startsWith("image/") ? this.file.type : "application/octet-stream";
    return call(`/api/v1/preview?max_side=${PREVIEW_SIDE}`, { body: this.file, type, blob: true }).catch(() => null);
  }
}

const answeredBy = (name, version) => JSON.stringify([name, version]);

const covers = (made, wanted) =>
  made.width >= wanted.width && made.height >= wanted.height && (made.fit !== "pad" || wanted.fit === "pad");
