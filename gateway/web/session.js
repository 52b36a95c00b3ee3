// The photos of this session: add, classify, show and remove them.

import { modelPath } from "./api.js";
import { byId, load, t } from "./page.js";
import { Pace } from "./pace.js";
import { Photo } from "./photo.js";
import { Queue } from "./queue.js";
import { Results } from "./results.js";
import { freeTile, makeTile, showThumbnail } from "./tile.js";
import { toast } from "./toast.js";
import { upload } from "./upload.js";
import { Viewer } from "./viewer.js";
import { toggleWhy } from "./why.js";
import { line } from "./words.js";

const SLOW_MS = 3000; // a photo takes longer only if there is a problem
const AT_ONCE = 4; // one until the connection is known, and if it is slow
const FEW = 3; // number of answers up to which each is announced; for more, only the count

export class Session {
  #service;
  #models;
  #availability;
  #pace = new Pace();
  #results = new Results();
  #viewer = new Viewer(() => this.#results.shown);
  #queue;

  constructor({ service, models, availability }) {
    this.#service = service;
    this.#models = models;
    this.#availability = availability;
    const away = async () => {
      await service.check();
      return !service.answers(models.name);
    };
    this.#queue = new Queue((...asked) => this.#ask(...asked), away, () => (this.#pace.slow || !this.#pace.known ? 1 : AT_ONCE));
    this.#queue.addEventListener("change", ({ detail: photo }) => {
      if (photo.removed) return;
      this.#results.changed(photo);
      setTimeout(() => this.#showAgain());
    });
    this.#queue.addEventListener("idle", () => {
      this.#showAgain();
      this.#hold();
      this.#announce();
    });
    availability.addEventListener("change", () => this.#hold());
    models.addEventListener("change", () => this.#showAgain());
    byId("stop").addEventListener("click", () => this.#stop());
    byId("resume").addEventListener("click", () => this.#askAgain(this.#results.inState("stopped")));
    byId("retry").addEventListener("click", () => this.#askAgain(this.#results.retryable()));
    byId("again").addEventListener("click", () => this.#askAgain(this.#unasked()));
    byId("clear").addEventListener("click", () => this.#clear());
    addEventListener("beforeunload", (event) => {
      if (this.#queue.busy) event.preventDefault();
    });
    this.#hold();
  }

  /** Adds the files from `collect.js`. */
  take({ found, skipped, text }) {
    if (!found.length) {
      if (/^https?:\/\/\S+$/.test(text?.trim())) toast(t("address"));
      else if (text) toast(t("text"));
      else if (skipped) toast(t("noPicture"));
      else toast(t(text === undefined ? "emptyFolder" : "nothing"));
      return;
    }
    const photos = found.map(({ file, path }) => new Photo(file, path));
    for (const photo of photos) makeTile(photo, this.#actions());
    const reset = this.#results.add(photos);
    const said = [t("added", { count: photos.length })];
    if (skipped) said.push(t("leftOut", { count: skipped }));
    if (reset) said.push(t("shownAgain"));
    if (skipped || reset) toast(`${said.join("; ")}.`);
    else byId("announce").textContent = `${said[0]}.`; // for screen readers; the page shows it already
    for (const photo of photos) this.#depict(photo);
    this.#queue.add(photos);
    this.#viewer.close();
  }

  async #depict(photo) {
    const { thumbnail } = await photo.prepared(this.#models.detail?.input, this.#pace.slow);
    showThumbnail(photo, thumbnail ?? (await photo.preview()));
  }

  #actions() {
    return {
      photo: (photo) => this.#viewer.open(photo),
      why: (photo) => toggleWhy(photo, this.#how()),
      remove: (photo) => this.#remove(photo),
      retry: (photo) => this.#askAgain([photo]),
      share: told(async (photo) => (await load("./share.js"))?.share(photo)),
      crop: told(async (photo) => {
        const part = await (await load("./crop.js"))?.crop(photo);
        if (!part) return;
        this.take({ found: [part], skipped: 0 });
        this.#results.photos.at(-1).tile.scrollIntoView({ block: "center" });
      }),
      code: told(async (photo) => (await load("./code.js"))?.openCode([...photo.answers.values()], photo.name)),
    };
  }

  #how() {
    return { input: this.#models.detail?.input, service: this.#service, pace: this.#pace };
  }

  async #ask(photo, signal) {
    const described = this.#models.detail?.name === this.#models.name; // not right after another model was chosen
    const { explains = false, feedback = false } = described ? this.#models.detail : {};
    const { question, dogs } = described ? this.#models.words : { question: t("question"), dogs: false };
    const asking = feedback && import("./feedback.js").catch(() => null); // the answer counts more
    const slow = setTimeout(() => this.#service.check(), SLOW_MS);
    const path = `${modelPath(this.#models.name)}/predict${this.#models.query}`;
    const answer = await upload(photo, path, { ...this.#how(), signal }).finally(() => clearTimeout(slow));
    photo.feedback ??= (await asking)?.feedbackRow;
    photo.answered(answer, explains);
    photo.question = question;
    showFacts(photo, dogs).catch(() => {}); // facts are optional
    photo.forget();
    if (localStorage.getItem("history") !== null) load("./history.js").then((history) => history?.remember(photo));
  }

  #askAgain(photos) {
    for (const photo of photos) photo.error = null;
    this.#queue.add(photos);
    this.#results.redraw();
  }

  #stop() {
    this.#queue.stop();
    this.#results.redraw();
  }

  #remove(photo) {
    const tiles = this.#results.shown;
    const at = tiles.indexOf(photo);
    const next = tiles[at + 1] ?? tiles[at - 1];
    this.#viewer.close();
    this.#takeOut([photo], t("removed", { name: photo.name }));
    (next?.tile.querySelector(".remove") ?? document.querySelector('[data-source="photos"]')).focus();
  }

  #clear() {
    this.#takeOut(this.#results.photos, t("allRemoved"));
    document.querySelector('[data-source="photos"]').focus();
  }

  /** Removes photos. This can be undone for a while. */
  #takeOut(photos, said) {
    const order = this.#results.photos;
    const open = photos.filter((photo) => photo.state === "waiting" || photo.state === "working");
    for (const photo of photos) {
      photo.removed = true;
      this.#queue.remove(photo);
    }
    this.#results.remove(photos);
    this.#showAgain();
    toast(said, {
      name: t("undo"),
      run: () => {
        for (const photo of photos) photo.removed = false;
        const later = this.#results.photos.filter((photo) => !order.includes(photo));
        this.#results.restore(order.filter((photo) => !photo.removed).concat(later));
        this.#queue.add(open);
        this.#showAgain();
      },
      over: () => photos.forEach(freeTile),
    });
  }

  /** Photos without an answer of the chosen model and version. */
  #unasked() {
    if (!this.#models.detail) return [];
    const { name, version } = this.#models.detail;
    return this.#results.photos.filter((photo) => photo.answer && !photo.has(name, version));
  }

  #showAgain() {
    document.body.dataset.busy = this.#queue.busy ? "yes" : "no";
    const unasked = this.#queue.busy ? 0 : this.#unasked().length;
    byId("again").hidden = !unasked;
    if (unasked) byId("again").textContent = t("askToo", { name: this.#models.name, version: String(this.#models.detail.version), count: unasked });
  }

  #hold() {
    this.#queue.held = !this.#availability.open;
  }

  /** Announces the results to screen readers when all photos are done. */
  #announce() {
    const { photos } = this.#results;
    if (!photos.length) return;
    byId("announce").textContent = photos.length > FEW ? `${byId("count").textContent}.` : photos.map(spoken).join(" ");
  }
}

/** An action whose failure is said. */
const told = (act) => (photo) => act(photo).catch((error) => toast(error.message));

/** Shows facts about a dog's breed, unless models disagree about it. */
async function showFacts(photo, dogs) {
  const { label } = photo.answer;
  const line = dogs && label && !photo.differs ? (await import("./breeds.js")).factLine(label) : "";
  const facts = photo.tile.querySelector(".facts");
  facts.textContent = line;
  facts.hidden = !line;
}

function spoken({ name, answer, error }) {
  if (error) return `${name}: ${error.message}`;
  return `${name}: ${answer ? line(answer) : `${t("stopped")}.`}`;
}
