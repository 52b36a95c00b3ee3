// The page for developers: a request to try and copy, and Swagger UI with all operations.

import { call, keyHeaders, modelPath, onKeyNeeded, useKey } from "./api.js";
import { chosenTab, codeTabs } from "./code.js";
import { byId } from "./page.js";

const FOLDED = ["tensorflow serving", "open inference protocol", "health"];
const STATIC = "/docs/static";
const EXAMPLE = { model: "dog_breed", version: 1 }; // the examples in openapi.json

let file = null;
let description = null;

// -- one request to try -------------------------------------------------------------------------------------------------

const model = () => byId("which").value;
const path = () => `${model() ? modelPath(model()) : "/api/v1/models/dog_breed"}/predict`;
/** Whether a key is required: if not, one of the alternatives in the description is empty. */
function keyed() {
  const { security = [] } = description?.paths["/api/v1/predict_breed"].post ?? {};
  return security.length > 0 && security.every((scheme) => Object.keys(scheme).length > 0);
}

function showRequest() {
  const request = { path: path(), file: file?.name ?? "photo.jpg", keyed: keyed() };
  byId("request").replaceChildren(codeTabs(request, chosenTab(byId("request"))));
}

async function send() {
  if (!file) return;
  byId("status").textContent = `Sending ${file.name}.`;
  const started = performance.now();
  try {
    const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
    const answer = await call(path(), { body: file, type });
    byId("status").textContent = `200, after ${Math.round(performance.now() - started)} ms.`;
    byId("answer").textContent = JSON.stringify(answer, null, 2);
  } catch (error) {
    byId("status").textContent = `${error.status || "No answer"}: ${error.title}`;
    byId("answer").textContent = JSON.stringify({ code: error.code, detail: error.message }, null, 2);
  }
}

function take(files) {
  if (!files.length) return;
  [file] = files;
  showRequest();
  send();
}

byId("choose").addEventListener("click", () => byId("photo").click());
byId("photo").addEventListener("change", ({ target }) => take(Array.from(target.files)));
byId("which").addEventListener("change", () => (showRequest(), send()));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  take(Array.from(event.dataTransfer.files));
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(Array.from(event.clipboardData.files));
});
onKeyNeeded(async () => {
  byId("key-form").hidden = false;
  return null; // the response says that a key is required, and the form has a field for it
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key-value").value);
  byId("key-value").value = "";
  readModels();
  send();
});

async function readModels() {
  try {
    const { models } = await call("/api/v1/models");
    const options = models.map(({ name, default: first }) => new Option(name, name, first, first));
    byId("which").replaceChildren(...options);
    byId("which").disabled = models.length < 2;
    showRequest();
    return (models.find((one) => one.default) ?? models[0]).name;
  } catch {
    return null;
  }
}

// -- every operation ----------------------------------------------------------------------------------------------------

/** The description, with examples that work with the served model: its name, version, labels and input. */
function fitted(described, served) {
  if (!served) return described;
  const renamed = JSON.stringify(described)
    .replaceAll(JSON.stringify(EXAMPLE.model), JSON.stringify(served.name))
    .replaceAll(`"examples":[${EXAMPLE.version}]`, `"examples":[${served.version}]`);
  const { LabelAnswer, ModelDetail, InputSize } = described.components.schemas;
  const ranked = LabelAnswer.properties.predictions.examples[0].map(({ label }) => label);
  const examples = [ranked, LabelAnswer.properties.labels.examples[0], ModelDetail.properties.labels.examples[0]];
  const replacements = new Map(examples.flatMap((labels) => labels.map((label, at) => [label, served.labels[at]])));
  if (!served.labels.length) replacements.clear();
  if (ranked.every((label) => served.labels.includes(label))) ranked.forEach((label) => replacements.delete(label));
  const description = JSON.parse(renamed, (_, value) => {
    // If the model has fewer labels, the rest become gaps, which `filter` leaves out, or predictions without a label.
    if (Array.isArray(value)) return value.filter((one) => !(one?.score && !("label" in one)));
    return replacements.has(value) ? replacements.get(value) : value;
  });
  const { properties } = description.components.schemas.InputSize;
  for (const name of Object.keys(InputSize.properties)) properties[name].examples = [served.input[name]];
  return description;
}

function load(tag, properties) {
  return new Promise((resolve, reject) => {
    document.head.prepend(Object.assign(document.createElement(tag), properties, { onload: resolve, onerror: reject }));
  });
}

/** Waits until the user scrolls to the operations: Swagger UI is half a megabyte and takes seconds on a phone. */
function wanted() {
  return new Promise((resolve) => {
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      resolve();
    }).observe(byId("swagger-ui"));
  });
}

async function showOperations(name) {
  await wanted();
  const [served] = await Promise.all([
    name && call(modelPath(name)).catch(() => null),
    load("link", { rel: "stylesheet", href: `${STATIC}/swagger-ui.css` }),
    load("script", { src: `${STATIC}/swagger-ui-bundle.js` }),
  ]);
  const ui = SwaggerUIBundle({
    spec: fitted(description, served),
    dom_id: "#swagger-ui",
    deepLinking: false,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: -1,
    validatorUrl: null,
    requestInterceptor: (request) => Object.assign(request, { headers: { ...request.headers, ...keyHeaders() } }),
    showMutatedRequest: false, // send the key, but do not show it
    onComplete: () => FOLDED.forEach((tag) => ui.layoutActions.show(["operations-tag", tag], false)),
  });
}

// Add attributes for screen readers, which Swagger UI lacks.
const NAMES = {
  'input[type="file"]': "Photo",
  ".examples-select-element": "Example",
  ".content-type": "Media type",
  ".body-param__text": "Body",
  ".parameters input[type=text]": "Value",
  ".parameters select": "Value",
  ".copy-to-clipboard button": "Copy",
};
const REGIONS = ".highlight-code pre, .highlight-code > div, .curl, .microlight";

function mend() {
  due = 0;
  const root = byId("swagger-ui");
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const control of root.querySelectorAll(`${selector}:not([aria-label])`)) control.ariaLabel = name;
  }
  for (const label of root.querySelectorAll("label[id]")) label.removeAttribute("id"); // the control has the same ID
  for (const table of root.querySelectorAll(".responses-table[role=region]:not([aria-label])")) {
    table.ariaLabel = `Responses of ${table.closest(".opblock").querySelector(".opblock-summary").innerText.replaceAll("\n", " ")}`;
  }
  for (const region of root.querySelectorAll(REGIONS)) if (!region.hasAttribute("tabindex")) region.tabIndex = 0;
}

showRequest();
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
let due = 0;
new MutationObserver(() => (due ||= requestAnimationFrame(mend))).observe(byId("swagger-ui"), { childList: true, subtree: true });
const first = readModels();
try {
  description = await (await fetch("/openapi.json")).json();
  byId("key-form").hidden = !keyed();
  showRequest();
  await showOperations(await first);
} catch {
  byId("swagger-ui").textContent = "The operations could not be loaded. Reload the page to try again.";
}
