// The review page: kept photos, the most useful ones first, to confirm, relabel, discard or delete.

import { call, onKeyNeeded } from "./api.js";
import { askForKey } from "./key.js";
import { byId, element, number } from "./page.js";
import { pickLabel } from "./pick.js";
import { answered, draw } from "./review-tile.js";
import { toast } from "./toast.js";

const PHOTOS = "/api/v1/review/photos";
const PAGE = 60;
const DAY_MS = 86_400_000;

const filters = byId("filters");
const grid = byId("photos");
const more = byId("more");
const tiles = new Map(); // by digest: {photo, tile}
let after = null;
let loading = null;
let counts = {}; // by status

onKeyNeeded(askForKey);

// -- the list -----------------------------------------------------------------------------------------------------------

function query() {
  const chosen = new FormData(filters);
  const wanted = new URLSearchParams({ status: chosen.get("status"), number: PAGE });
  if (chosen.get("label")) wanted.set("label", chosen.get("label").slice(1)); // "=" is an unknown photo
  const [model, version] = splitVersion(chosen.get("version"));
  if (version) wanted.set("model", model), wanted.set("version", version);
  if (chosen.get("days")) wanted.set("since", new Date(Date.now() - chosen.get("days") * DAY_MS).toISOString());
  if (after) wanted.set("after", after);
  return wanted;
}

const splitVersion = (text) => [text.slice(0, text.lastIndexOf("/")), text.slice(text.lastIndexOf("/") + 1)];

/** Loads the next page. A list that was asked for before with other filters is not shown any more. */
async function load() {
  const wanted = query();
  const mine = (loading = {});
  more.disabled = true;
  try {
    const page = await call(`${PHOTOS}?${wanted}`);
    if (mine !== loading) return;
    after = page.after;
    for (const photo of page.photos) if (!tiles.has(photo.digest)) add(photo);
    summarise(page);
  } catch (error) {
    if (mine === loading) failed(error);
  } finally {
    if (mine === loading) more.disabled = false;
  }
}

function start() {
  after = null;
  tiles.clear();
  grid.replaceChildren();
  byId("none").hidden = true;
  more.hidden = true;
  return load();
}

function summarise({ counts: found, labels, versions }) {
  counts = found;
  moved();
  more.hidden = after === null;
  byId("none").hidden = tiles.size > 0;
  byId("none").textContent = "There is nothing to review here.";
  const named = Object.entries(labels).sort(([first], [second]) => first.localeCompare(second));
  choices("label", named.map(([label, count]) => [`=${label}`, `${label || "Unknown"} (${number(count)})`]));
  choices("version", versions.map(({ model, version, photos }) => [`${model}/${version}`, `${model} ${version} (${number(photos)})`]));
}

/** Shows how many photos there are, after one has moved from one status to another. */
function moved(from, to) {
  if (from) counts[from] -= 1;
  if (to) counts[to] = (counts[to] ?? 0) + 1;
  const of = (status) => number(counts[status] ?? 0);
  byId("count").textContent = `${of("open")} not reviewed, ${of("reviewed")} reviewed, ${of("conflicts")} in conflict`;
}

function choices(name, options) {
  const select = filters.elements[name];
  const chosen = select.value;
  if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, chosen.replace(/^=/, "") || "Unknown"]);
  select.replaceChildren(new Option("Any", ""), ...options.map(([value, text]) => new Option(text, value)));
  select.value = chosen;
}

function failed(error) {
  byId("none").hidden = tiles.size > 0;
  byId("none").textContent = [error.title, error.message].filter(Boolean).join(" ");
  if (tiles.size) toast(error.message);
}

// -- one photo ----------------------------------------------------------------------------------------------------------

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    if (target === more) after && !more.disabled && load();
    else seen.unobserve(target), show(target);
  }
}, { rootMargin: "600px" });

function add(photo) {
  const image = element("img", { alt: "" });
  const tile = element("li", { className: "tile", tabIndex: tiles.size ? -1 : 0 }, element("figure", {}, image), element("div", { className: "answer" }));
  tile.dataset.digest = photo.digest;
  tiles.set(photo.digest, { photo, tile });
  redraw(photo);
  grid.append(tile);
  seen.observe(tile);
}

function redraw(photo) {
  const entry = tiles.get(photo.digest);
  if (!entry) return; // other filters were chosen meanwhile
  const focused = entry.tile.contains(document.activeElement);
  if (entry.photo !== photo) moved(entry.photo.status, photo.status);
  entry.photo = photo;
  draw(entry.tile, photo, {
    confirm: () => confirm(photo.digest),
    relabel: () => relabel(photo.digest),
    discard: () => decide(photo.digest, "discarded"),
    remove: () => remove(photo.digest),
    undo: () => decide(photo.digest, "withdrawn"),
  });
  if (focused) entry.tile.focus();
}

async function show(tile) {
  const image = tile.querySelector("img");
  try {
    const address = URL.createObjectURL(await call(`${PHOTOS}/${tile.dataset.digest}/image`, { blob: true }));
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch (error) {
    if (error.status === 404) gone(tile.dataset.digest);
  }
}

/** The photo was deleted, here or by somebody else. */
function gone(digest) {
  const { photo, tile } = tiles.get(digest) ?? {};
  if (!tile || tile.dataset.status === "gone") return;
  moved(photo.status);
  tile.dataset.status = "gone";
  tile.ariaLabel = "Deleted photo";
  tile.querySelector(".answer").replaceChildren(element("p", { className: "detail" }, "This photo was deleted."));
}

/** Sends a decision, and goes on to the next photo. Only a decision that nobody else has made meanwhile is recorded. */
async function decide(digest, decision, label) {
  const { photo, tile } = tiles.get(digest);
  if (tile.ariaBusy === "true" || tile.dataset.status === "gone") return;
  tile.ariaBusy = "true";
  try {
    const body = JSON.stringify({ decision, label, seen: decision === "deleted" ? undefined : photo.decisions });
    const now = await call(`${PHOTOS}/${digest}/decision`, { body, type: "application/json" });
    if (decision === "deleted") gone(digest);
    else redraw(now);
    byId("announce").textContent = decision === "deleted" ? "Deleted" : tile.ariaLabel;
    if (decision !== "withdrawn") step(tile, 1);
  } catch (error) {
    if (error.status === 404) gone(digest);
    else if (error.status === 409) redraw(await call(`${PHOTOS}/${digest}`).catch(() => photo));
    toast(error.message);
  } finally {
    tile.ariaBusy = null;
  }
}

function confirm(digest) {
  const label = answered(tiles.get(digest).photo);
  if (label === null) relabel(digest);
  else decide(digest, "confirmed", label);
}

async function relabel(digest) {
  const { photo, tile } = tiles.get(digest);
  const [{ label, model, scores }] = photo.answers;
  try {
    const { labels } = await call(`/api/v1/review/labels?${new URLSearchParams({ model })}`);
    const predictions = scores.map(([guess]) => ({ label: guess }));
    const picked = await pickLabel({ label, model: { name: model }, predictions, labels });
    tile.focus();
    if (picked === null) await decide(digest, "discarded");
    else if (picked !== undefined) await decide(digest, "relabelled", picked);
  } catch (error) {
    toast(error.message);
  }
}

function remove(digest) {
  const dialog = byId("delete");
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => dialog.returnValue === "delete" && decide(digest, "deleted"), { once: true });
}

// -- the keyboard: keys act on the tile that has the focus ----------------------------------------------------------------

/** Moves the focus to another tile. */
function step(tile, by) {
  const all = [...grid.children];
  const next = all[all.indexOf(tile) + by];
  if (!next) return after && !more.disabled && load().then(() => grid.children[all.length]?.focus());
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function columns() {
  const [first] = grid.children;
  return [...grid.children].filter((tile) => tile.offsetTop === first.offsetTop).length;
}

const KEYS = {
  c: confirm,
  r: relabel,
  d: (digest) => decide(digest, "discarded"),
  u: (digest) => tiles.get(digest).photo.decision && decide(digest, "withdrawn"),
  Delete: remove,
};
const STEPS = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columns, ArrowUp: () => -columns() };

grid.addEventListener("keydown", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!KEYS[key] && !STEPS[key]) return;
  event.preventDefault();
  if (KEYS[key]) KEYS[key](tile.dataset.digest);
  else step(tile, STEPS[key]());
});
grid.addEventListener("focusin", ({ target }) => {
  for (const tile of grid.querySelectorAll('.tile[tabindex="0"]')) tile.tabIndex = -1;
  target.closest(".tile").tabIndex = 0;
});

more.addEventListener("click", load);
seen.observe(more);
filters.addEventListener("change", start);
filters.addEventListener("submit", (event) => event.preventDefault());
start();
