// The page's elements, and its words in the first language of the browser that there is a file for.

export const byId = (id) => document.getElementById(id);

/** Makes an element with these properties, and text or other elements in it. */
export function element(tag, properties = {}, ...content) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...content);
  return made;
}

const LANGUAGES = ["en", "de", "fr", "es", "ja"];

const root = document.documentElement;
const wanted = navigator.languages.map((tag) => tag.split("-")[0].toLowerCase());

/** Language of the page, as in `lang`. The page for developers is in English. */
export const language = ("english" in root.dataset ? null : wanted.find((tag) => LANGUAGES.includes(tag))) ?? "en";

const { default: messages } = await import(`./messages-${language}.js`);
const plurals = new Intl.PluralRules(language);

/**
 * A message with values for its `{names}`. `count` selects the plural form.
 * @param {string} key
 * @param {Record<string, string | number>} [values] Numbers are formatted for the language.
 */
export function t(key, values = {}) {
  const message = messages[key];
  const form = typeof message === "string" ? message : message[plurals.select(values.count)] ?? message.other;
  return form.replace(/\{(\w+)\}/g, (_, name) => number(values[name]));
}

/** Says that a module cannot be loaded: the service is unavailable, or was updated since the page was loaded. */
export const partMissing = () => import("./toast.js").then(({ toast }) => toast(t("partMissing")), () => {});

/** A module that the user asked for. Says so if it cannot be loaded, and returns nothing. */
export const load = (path) =>
  import(path).catch((error) => {
    console.error(error);
    return partMissing();
  });

/** Formats a number for the language; returns text unchanged. */
export const number = (value) => (typeof value === "number" ? value.toLocaleString(language) : value);

/** The message for an error code of the API. Empty in English, because the messages of the API are more precise. */
export const errorText = (code) => messages[`error.${code}`] ?? "";

/** Translates a part of the page: replaces the English text of elements with `data-t`, `data-t-label`, `data-t-title`. */
export function translate(part) {
  for (const one of part.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of part.querySelectorAll("[data-t-label]")) one.ariaLabel = t(one.dataset.tLabel);
  for (const one of part.querySelectorAll("[data-t-title]")) one.title = t(one.dataset.tTitle);
}

if (language !== "en") {
  root.lang = language;
  translate(document);
  for (const template of document.querySelectorAll("template")) translate(template.content);
}
