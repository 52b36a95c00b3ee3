// Elements of the page.

export const byId = (id) => document.getElementById(id);

/** Makes an element with these properties, and text or other elements in it. */
export function element(tag, properties = {}, ...content) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...content);
  return made;
}
