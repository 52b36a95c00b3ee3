// Starts the page: shows the served models and accepts photos. The modules for photos are loaded with the first photo,
// or before, in idle time.

import { onKeyNeeded } from "./api.js";
import { byId, element, load, partMissing, t } from "./page.js";
import { Models } from "./models.js";
import { Availability, Service, onRetry, showNotice } from "./service.js";

const CALM_MS = 1500; // between the start and loading the rest
const LEFT_MS = 120;
const SAMPLE = 24; // number of labels on the start page

const service = new Service();
const models = new Models();
const availability = new Availability(service, models);
let session = null;

/** The part of the page for photos. */
function photos() {
  session ??= Promise.all([import("./session.js"), import("./collect.js")]).then(
    ([{ Session }]) => {
      document.body.dataset.ready = "yes";
      return new Session({ service, models, availability });
    },
    (error) => {
      session = null; // the service is unavailable; try again with the next photo
      throw error;
    },
  );
  return session;
}

const toast = (text) => import("./toast.js").then((module) => module.toast(text));

async function take(collecting) {
  for (;;) {
    try {
      const [session, found] = await Promise.all([photos(), collecting()]);
      return session.take(found);
    } catch (error) {
      if (session) return toast(t("filesUnread", { reason: error.message }));
      await service.check();
      if (service.reachable) return partMissing();
      // The files wait until the service is available again.
      await new Promise((resolve) => availability.addEventListener("change", resolve, { once: true }));
    }
  }
}

const collected = (how, files) => () => import("./collect.js").then((module) => module[how](files));

// -- where photos come from ---------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-source]")) {
  button.addEventListener("click", () => byId(button.dataset.source).click());
  button.addEventListener("pointerenter", () => photos().catch(() => {}), { once: true });
}
for (const id of ["photos", "folder", "camera"]) {
  byId(id).addEventListener("change", ({ target }) => {
    const files = Array.from(target.files);
    target.value = ""; // so that the same file can be chosen again
    if (files.length || id === "folder") take(collected(id === "folder" ? "fromFolder" : "fromFiles", files));
  });
}

let leaving;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!event.dataTransfer) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  clearTimeout(leaving);
  document.body.classList.toggle("over", holdsFiles(event));
});
addEventListener("dragleave", () => {
  // Fires for every element. A dragover follows at once, unless the pointer has left the page.
  clearTimeout(leaving);
  leaving = setTimeout(() => document.body.classList.remove("over"), LEFT_MS);
});
addEventListener("drop", (event) => {
  document.body.classList.remove("over");
  event.preventDefault();
  take(transferred(event.dataTransfer));
});
addEventListener("paste", (event) => {
  if (event.target.closest?.("input, textarea")) return;
  take(transferred(event.clipboardData));
});

/** The dropped or pasted items. The browser empties both lists after the event. */
function transferred(transfer) {
  const entries = Array.from(transfer.items ?? [], (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = Array.from(transfer.files);
  const text = files.length ? "" : transfer.getData("text/plain");
  return () => import("./collect.js").then(({ fromTransfer }) => fromTransfer({ entries, files, text }));
}

// -- the service and its models -----------------------------------------------------------------------------------------

availability.addEventListener("change", () => {
  const waits = document.body.dataset.busy === "yes" ? ` ${t("photosWait")}` : "";
  const { notice } = availability;
  if (showNotice(notice && { ...notice, text: notice.text + waits })) toast(t("answersAgain"));
});
onRetry(() => availability.retry());
onKeyNeeded(async (refused) => (await load("./key.js"))?.askForKey(refused) ?? null);

models.addEventListener("change", () => {
  const { detail, words } = models;
  byId("show-card").disabled = !detail;
  if (!detail) return;
  byId("question").textContent = document.title = words.question;
  byId("about").textContent = words.about;
  byId("private").textContent = t(detail.keeps_photos ? "kept" : "private");
  byId("frame").toggleAttribute("hidden", words.dogs);
  byId("dog").toggleAttribute("hidden", !words.dogs);
  document.querySelector(".knows").hidden = detail.labels.length < 2;
  byId("knows").textContent = t("knows", { classes: words.classes });
  const step = Math.max(1, detail.labels.length / SAMPLE);
  const sample = Array.from({ length: Math.min(SAMPLE, detail.labels.length) }, (_, at) => detail.labels[Math.floor(at * step)]);
  document.querySelector(".knows .labels").replaceChildren(...sample.map((name) => element("li", {}, name)));
  if (location.hash === "#known" && !document.querySelector(".known")) opening = showKnown();
});

let opening = null; // of the list of labels that the address asks for
models.addEventListener("missing", async ({ detail }) => {
  await opening?.catch(() => {}); // or the list would cover the message
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  toast(detail);
});

for (const id of ["show-card", "show-all"]) {
  byId(id).addEventListener("click", async () => {
    const card = await load("./card.js");
    if (models.detail) card?.openCard(byId("card"), models.detail);
  });
}

async function showKnown() {
  const known = await load("./known.js");
  if (models.detail) known?.openKnown(models.detail, models.words);
}
byId("show-known").addEventListener("click", showKnown);

const past = () => load("./history.js");
if (localStorage.getItem("history") !== null) past().then((module) => module?.showHistory());
byId("keep-history").addEventListener("change", async ({ target }) => (await past())?.keepHistory(target.checked));
byId("delete-history").addEventListener("click", async () => {
  (await past())?.keepHistory(false);
  byId("keep-history").focus();
});

byId("live").hidden = !navigator.mediaDevices?.getUserMedia;
byId("live").addEventListener("click", async () => {
  const camera = await load("./camera.js");
  camera?.openCamera({ models, take: (file) => take(() => ({ found: [{ file, path: file.name }], skipped: 0 })) });
});

service.check();
if (new URLSearchParams(location.search).has("shared")) take(() => import("./shared.js").then(({ takeShared }) => takeShared()));
const loadRest = () =>
  setTimeout(() => {
    photos().catch(() => {});
    import("./shared.js").then(({ offerInstallation }) => offerInstallation(), () => {}); // the service is away
  }, CALM_MS);
if (document.readyState === "complete") loadRest(); // the words may come after that event
else addEventListener("load", loadRest);
