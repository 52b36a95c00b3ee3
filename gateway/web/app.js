// The page: photos in, breeds out. Puts the parts together.

import { modelPath, onKeyNeeded } from "./api.js";
import { Availability } from "./availability.js";
import { onRetry, showNotice } from "./banner.js";
import { openCard } from "./card.js";
import { byId } from "./dom.js";
import { askForKey } from "./key.js";
import { Models } from "./models.js";
import { Photo } from "./photo.js";
import { Queue } from "./queue.js";
import { Results } from "./results.js";
import { Service } from "./service.js";
import { onFiles } from "./sources.js";
import { announce, announceAll } from "./speech.js";
import { makeTile, showThumbnail } from "./tile.js";
import { upload } from "./upload.js";
import { toggleWhy } from "./why.js";
import { counted } from "./words.js";

const SLOW_MS = 3000; // no photo takes so long unless something is wrong

const service = new Service();
const models = new Models();
const availability = new Availability(service, models);
const results = new Results();
const queue = new Queue(ask, async () => {
  await service.check();
  return !service.answers(models.name);
});

// -- photos -----------------------------------------------------------------------------------------------------------

function take({ found, skipped }) {
  if (!found.length) {
    announce(skipped ? "There is no picture among these files." : "");
    return;
  }
  const photos = found.map(({ file, path }) => new Photo(file, path));
  for (const photo of photos) makeTile(photo, { why, remove, retry: (one) => askAgain([one]) });
  results.add(photos);
  const left = skipped ? `; ${counted(skipped, "file")} left out, being no pictures` : "";
  announce(`${counted(photos.length, "photo")} added${left}.`);
  for (const photo of photos) photo.prepared(models.detail?.input).then(({ thumbnail }) => showThumbnail(photo, thumbnail));
  queue.add(photos);
}

async function ask(photo, signal) {
  const { input, explains = false } = models.detail ?? {};
  const slow = setTimeout(() => service.check(), SLOW_MS);
  const path = `${modelPath(models.name)}/predict${models.query}`;
  photo.answer = await upload(photo, path, { input, service, signal }).finally(() => clearTimeout(slow));
  photo.explains = explains;
  photo.forget();
}

function why(photo) {
  return toggleWhy(photo, { input: models.detail?.input, service });
}

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

onFiles(take);

// -- the set as a whole -----------------------------------------------------------------------------------------------

queue.addEventListener("change", ({ detail: photo }) => {
  if (photo.removed) return;
  results.changed(photo);
  setTimeout(showAgain);
});
queue.addEventListener("idle", () => {
  showAgain();
  showAvailability();
  if (results.photos.length) announceAll(results.photos);
});

function askAgain(photos) {
  queue.add(photos);
  results.redraw();
}

byId("stop").addEventListener("click", () => {
  queue.stop();
  results.redraw();
});
byId("resume").addEventListener("click", () => askAgain(results.inState("stopped")));
byId("retry").addEventListener("click", () => askAgain(results.inState("failed").filter((photo) => !photo.error.final)));
byId("again").addEventListener("click", () => askAgain(byOthers()));
byId("clear").addEventListener("click", () => {
  const photos = results.photos;
  for (const photo of photos) photo.removed = true;
  results.remove(photos);
  queue.stop();
  showAgain();
  document.querySelector('[data-source="photos"]').focus();
  announce("All photos removed.");
});

/** Photos whose answer is another model's or version's than would answer now. */
function byOthers() {
  if (!models.detail) return [];
  const { name, version } = models.detail;
  return results.inState("done").filter(({ answer: { model } }) => model.name !== name || model.version !== version);
}

function showAgain() {
  const others = queue.busy ? 0 : byOthers().length;
  byId("again").hidden = !others;
  if (others) byId("again").textContent = `Ask ${models.name} version ${models.detail.version} too (${others})`;
}

// -- the service and its models ---------------------------------------------------------------------------------------

availability.addEventListener("change", showAvailability);
onRetry(() => availability.retry());
onKeyNeeded(askForKey);

function showAvailability() {
  queue.held = !availability.open;
  const { notice } = availability;
  const waits = queue.busy ? " Your photos wait and go on by themselves." : "";
  if (showNotice(notice && { ...notice, text: notice.text + waits })) announce("The service answers again.");
}

models.addEventListener("change", () => {
  const { detail } = models;
  byId("show-card").disabled = !detail;
  if (!detail) return;
  const classes = detail.labels.length ? ` one of the ${counted(detail.labels.length, "breed")} that it knows` : " a breed";
  byId("about").textContent = `Add photos of dogs, as many as you like. The model names${classes} and says how sure it is.`;
  showAvailability();
  showAgain();
});
byId("show-card").addEventListener("click", () => models.detail && openCard(byId("card"), models.detail));

addEventListener("beforeunload", (event) => {
  if (queue.busy) event.preventDefault();
});

service.check();
