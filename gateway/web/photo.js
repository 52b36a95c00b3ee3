// One photo and what has become of it.

import { prepare } from "./prepare.js";

const UNKNOWN_INPUT = { width: 320, height: 320, fit: "crop" };

export class Photo {
  state = "waiting"; // or working, done, failed, stopped
  attempts = 0;
  answer = null; // as the API gives it, once done
  explains = false; // whether the model that answered can say why
  error = null; // once failed: a CallFailed
  removed = false;
  tile = null;

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

  /**
   * Makes the photo ready for a model, unless it is; see `prepare`.
   * @param {{width: number, height: number, fit: string}} [input] What the model takes, where that is known.
   */
  prepared(input = UNKNOWN_INPUT) {
    if (!this.#prepared || !covers(this.#input, input)) {
      this.#input = input;
      this.#prepared = prepare(this.file, input);
    }
    return this.#prepared;
  }

  /** Gives up what was made ready; it is made again when it is needed again. */
  forget() {
    this.#prepared = null;
  }
}

const covers = (made, wanted) =>
  made.width >= wanted.width && made.height >= wanted.height && (made.fit !== "pad" || wanted.fit === "pad");
