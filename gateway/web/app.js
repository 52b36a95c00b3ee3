// The page: photos in, breeds out.

import { CallFailed, call, modelPath, onKeyNeeded } from "./api.js";
import { openCard } from "./card.js";
import { fromFiles, fromFolder, fromTransfer } from "./collect.js";
import { Models } from "./models.js";
import { prepare } from "./prepare.js";
import { Queue } from "./queue.js";
import { Results } from "./results.js";
import { Service } from "./service.js";
import { hideWhy, makeTile, showThumbnail, showWhy } from "./tile.js";
import { counted, label, percent } from "./words.js";

const FEW = 3; // up to so many photos each answer is read out; of more, only how many
const SLOW_MS = 3000; // no photo takes so long unless something is wrong
const LARGE_BYTES = 10_000_000;
const UNKNOWN_INPUT = { width: 320, height: 320, fit: "crop" };

const byId = (id) => document.getElementById(id);
const announce = (text) => (byId("announce").textContent = text);

const service = new Service();
const models = new Models();
const results = new Results();
const queue = new Queue(ask, async () => {
  await service.check();
  return !service.answers(models.name);
});

// -- photos come in ---------------------------------------------------------------------------------------------------

function take({ found, skipped }) {
  if (!found.length) {
    announce(skipped ? "There is no picture among these files." : "");
    return;
  }
  const photos = found.map(({ file, path }) => ({ file, path, name: file.name, state: "waiting" }));
  for (const photo of photos) makeTile(photo, { why, remove, retry: (one) => askAgain([one]) });
  results.add(photos);
  const left = skipped ? `; ${counted(skipped, "file")} left out, being no pictures` : "";
  announce(`${counted(photos.length, "photo")} added${left}.`);
  for (const photo of photos) makeReady(photo);
  queue.add(photos);
}

/** Starts to prepare a photo for the model that is asked now, unless that was done. */
function makeReady(photo) {
  const input = models.detail?.input ?? UNKNOWN_INPUT;
  if (photo.ready && covers(photo.readyFor, input)) return photo.ready;
  photo.readyFor = input;
  photo.ready = prepare(photo.file, input).then((ready) => {
    if (ready.thumbnail && !photo.removed && !photo.shown) showThumbnail(photo, ready.thumbnail);
    photo.shown = true;
    return ready;
  });
  return photo.ready;
}

const covers = (made, wanted) =>
  made.width >= wanted.width && made.height >= wanted.height && (made.fit !== "pad" || wanted.fit === "pad");

async function upload(photo, path, signal) {
  const { body, thumbnail } = await makeReady(photo);
  signal?.throwIfAborted();
  if (!thumbnail) await readable(photo.file);
  const type = body.type.startsWith("image/") ? body.type : "application/octet-stream";
  try {
    return await call(path, { body, type, signal });
  } catch (error) {
    if (error.status !== 0 || body.size < LARGE_BYTES || signal?.aborted) throw error;
    await service.check();
    if (!service.reachable) throw error;
    const size = Math.round(body.size / 1e6);
    throw new CallFailed("Upload cut off", `With ${size} MB this file may be larger than is accepted.`, { status: 413, code: "upload_too_large" });
  }
}

async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new CallFailed("Cannot be read", "The file was moved or changed, or may not be read.", { status: 400, code: "unreadable_file" });
  }
}

// -- answers come back ------------------------------------------------------------------------------------------------

async function ask(photo, signal) {
  const asked = models.detail;
  const slow = setTimeout(() => service.check(), SLOW_MS);
  const path = `${modelPath(models.name)}/predict${models.query}`;
  const answer = await upload(photo, path, signal).finally(() => clearTimeout(slow));
  photo.answer = answer;
  photo.explains = asked?.explains ?? false;
  photo.ready = null; // what was sent is made again when it is needed again
}

async function why(photo) {
  if (photo.tile.dataset.why !== undefined) return hideWhy(photo);
  const button = photo.tile.querySelector(".why");
  const { name, version } = photo.answer.model;
  button.setAttribute("aria-busy", "true");
  try {
    const { heatmap } = await upload(photo, `${modelPath(name)}/explain?version=${version}`);
    if (!photo.removed && photo.state === "done") showWhy(photo, heatmap);
    announce(photo.tile.querySelector("figcaption").textContent);
  } catch (error) {
    const gone = error.code === "unknown_version";
    const said = gone ? `Version ${version} has gone: ask again for an answer by a newer one.` : error.message;
    photo.tile.querySelector("figcaption").textContent = said;
    announce(said);
    if (error.away) service.check();
  } finally {
    photo.ready = null;
    button.removeAttribute("aria-busy");
  }
}

queue.addEventListener("change", ({ detail: photo }) => {
  if (photo.removed) return;
  results.changed(photo);
  setTimeout(summary);
});

let told = true;

/** Reads out answers, each of a few photos, or the sum of many. */
function summary() {
  showAgain();
  if (!banner.hidden) showService();
  if (queue.busy) {
    told = false;
    return;
  }
  if (told) return;
  told = true;
  const done = results.photos.filter((photo) => photo.state === "done");
  const failed = results.photos.filter((photo) => photo.state === "failed");
  if (results.photos.length <= FEW) {
    announce(results.photos.map(spoken).join(" "));
  } else {
    const unsure = done.filter((photo) => photo.answer.label === null).length;
    announce(`${done.length} of ${counted(results.photos.length, "photo")} answered, ${unsure} not sure, ${failed.length} failed.`);
  }
}

function spoken({ name, state, answer, error }) {
  if (state === "failed") return `${name}: ${error.message}`;
  if (state !== "done") return `${name}: stopped.`;
  return answer.label === null ? `${name}: not sure.` : `${name}: ${label(answer.label)}, ${percent(answer.confidence)} sure.`;
}

// -- the set as a whole -----------------------------------------------------------------------------------------------

function remove(photo) {
  const tiles = [...document.querySelectorAll(".tile:not([hidden])")];
  const at = tiles.indexOf(photo.tile);
  const next = tiles[at + 1] ?? tiles[at - 1];
  photo.removed = true;
  queue.remove(photo);
  results.remove([photo]);
  (next?.querySelector(".remove") ?? document.querySelector('[data-source="photos"]')).focus();
  announce(`${photo.name} removed.`);
}

const inState = (state) => results.photos.filter((photo) => photo.state === state);

function askAgain(photos) {
  queue.add(photos);
  results.redraw();
}

byId("stop").addEventListener("click", () => {
  queue.stop();
  results.redraw();
});
byId("resume").addEventListener("click", () => askAgain(inState("stopped")));
byId("retry").addEventListener("click", () => askAgain(inState("failed").filter((photo) => !photo.error.final)));
byId("again").addEventListener("click", () => askAgain(byOthers()));
byId("clear").addEventListener("click", () => {
  const photos = results.photos;
  for (const photo of photos) photo.removed = true;
  queue.stop();
  results.remove(photos);
  told = true;
  showAgain();
  document.querySelector('[data-source="photos"]').focus();
  announce("All photos removed.");
});

/** Photos whose answer is another model's or version's than would answer now. */
function byOthers() {
  if (!models.detail) return [];
  const { name, version } = models.detail;
  return inState("done").filter(({ answer: { model } }) => model.name !== name || model.version !== version);
}

function showAgain() {
  const others = queue.busy ? 0 : byOthers().length;
  byId("again").hidden = !others;
  if (others) byId("again").textContent = `Ask ${models.name} version ${models.detail.version} too (${others})`;
}

// -- where photos come from -------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-source]")) {
  button.addEventListener("click", () => byId(button.dataset.source).click());
}
for (const id of ["photos", "folder", "camera"]) {
  byId(id).addEventListener("change", ({ target }) => {
    take(id === "folder" ? fromFolder(target.files) : fromFiles(target.files));
    target.value = ""; // the same file may be chosen again
  });
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
let leaving;
addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  clearTimeout(leaving);
  document.body.classList.add("over");
});
addEventListener("dragleave", () => {
  // Sent for every element that is crossed; a dragover follows at once unless the page was left.
  clearTimeout(leaving);
  leaving = setTimeout(() => document.body.classList.remove("over"), 120);
});
addEventListener("drop", async (event) => {
  document.body.classList.remove("over");
  if (!holdsFiles(event)) return;
  event.preventDefault();
  take(await fromTransfer(event.dataTransfer));
});
addEventListener("paste", async (event) => {
  if (event.clipboardData?.files.length) take(await fromTransfer(event.clipboardData));
});

// -- the service and its models ---------------------------------------------------------------------------------------

const banner = byId("service");
banner.querySelector("button").addEventListener("click", tryNow);

let known = null; // what was available when the models were last read
let trouble = null; // why they cannot be read

service.addEventListener("change", async () => {
  if (service.reachable && known !== service.available) await readModels();
  letGo();
  showService();
});

async function readModels() {
  const available = service.available;
  try {
    await models.load();
    [known, trouble] = [available, null];
  } catch (error) {
    trouble = error;
    if (error.passing) setTimeout(tryNow, 3000);
  }
}

async function tryNow() {
  await service.check();
  if (trouble) await readModels();
  letGo();
  showService();
}

function letGo() {
  queue.held = trouble !== null || !models.name || !service.answers(models.name);
}

/** Title, text and button of the banner; nothing when all is well. */
function notice() {
  if (service.reachable === null) return null;
  if (!service.reachable) return ["The service cannot be reached.", "It is tried again every few seconds."];
  const reason = service.missing[models.name] ?? (models.name ? null : Object.values(service.missing)[0]);
  if (reason) return ["Not ready yet.", reason];
  if (trouble?.status === 401) return ["An API key is needed.", "Nothing can be asked without one.", "Enter a key"];
  return trouble && ["The models cannot be read.", trouble.message];
}

function showService() {
  const found = notice();
  if (!found && !banner.hidden) announce("The service answers again.");
  banner.hidden = !found;
  if (!found) return;
  const [title, text, action = "Try now"] = found;
  const waits = queue.busy ? " Your photos wait and go on by themselves." : "";
  const parts = { strong: title, span: text + waits, button: action };
  for (const [selector, words] of Object.entries(parts)) {
    const part = banner.querySelector(selector);
    if (part.textContent !== words) part.textContent = words; // a screen reader says each change once
  }
}

models.addEventListener("change", () => {
  const { detail } = models;
  byId("show-card").disabled = !detail;
  byId("sample").hidden = !detail?.card?.sample;
  if (!detail) return;
  const classes = detail.labels.length ? ` one of the ${counted(detail.labels.length, "breed")} that it knows` : " a breed";
  byId("about").textContent = `Add photos of dogs, as many as you like. The model names${classes} and says how sure it is.`;
  if (detail.card?.sample && !samples) showSamples();
  letGo();
  showAgain();
});
byId("show-card").addEventListener("click", () => models.detail && openCard(byId("card"), models.detail));

let samples = null; // a promise of the list of drawings, once a sample model was met

function showSamples() {
  samples ??= fetch("/web/samples/samples.json").then((answer) => answer.json());
  samples.then((listed) => document.querySelector("#sample ul").replaceChildren(...listed.map(sampleButton)));
}

function sampleButton(sample) {
  const image = Object.assign(new Image(), { src: `/web/samples/${sample.file}`, alt: "", width: 96, height: 96 });
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", `Try the drawing of a ${sample.label}`);
  button.append(image);
  button.addEventListener("click", () => trySamples([sample]));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

async function trySamples(chosen) {
  const fetched = async ({ file }) => {
    const blob = await (await fetch(`/web/samples/${file}`)).blob();
    return { file: new File([blob], file, { type: blob.type }), path: file };
  };
  take({ found: await Promise.all(chosen.map(fetched)), skipped: 0 });
}

byId("try-all").addEventListener("click", async () => trySamples(await samples));

// -- the key ----------------------------------------------------------------------------------------------------------

const keyDialog = byId("key");
byId("key-cancel").addEventListener("click", () => keyDialog.close(""));
onKeyNeeded((refused) => {
  byId("key-title").textContent = refused ? "That key was not accepted" : "An API key is needed";
  byId("key-value").value = "";
  keyDialog.returnValue = "";
  keyDialog.showModal();
  return new Promise((resolve) => {
    keyDialog.addEventListener("close", () => resolve(keyDialog.returnValue === "use" ? byId("key-value").value : null), { once: true });
  });
});

addEventListener("beforeunload", (event) => {
  if (queue.busy) event.preventDefault();
});

service.check();
