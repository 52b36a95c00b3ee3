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

/** Language of the page, as in `lang`; a page for developers is in English. */
export const language = ("english" in root.dataset ? null : wanted.find((tag) => LANGUAGES.includes(tag))) ?? "en";

const { default: messages } = await import(`./messages-${language}.js`);
const plurals = new Intl.PluralRules(language);

/**
 * A message, with values in the place of `{names}`; `count` chooses among the forms of a plural.
 * @param {string} key
 * @param {Record<string, string | number>} [values] Numbers are written as in the language.
 */
export function t(key, values = {}) {
  const message = messages[key];
  const form = typeof message === "string" ? message : message[plurals.select(values.count)] ?? message.other;
  return form.replace(/\{(\w+)\}/g, (_, name) => number(values[name]));
}

/** A number as it is written in the language; text stays as it is. */
export const number = (value) => (typeof value === "number" ? value.toLocaleString(language) : value);

/** An error of the API by its code; empty in English, which the API speaks itself and more exactly. */
export const errorText = (code) => messages[`error.${code}`] ?? "";

/** Puts the messages that `data-t`, `data-t-label` and `data-t-title` name into a part of the page, which is written in English. */
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
