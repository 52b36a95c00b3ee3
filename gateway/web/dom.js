// Create and find elements of the page.

export const byId = (id) => document.getElementById(id);

/** Creates an element with properties and children. */
export function element(tag, properties = {}, ...content) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...content);
  return made;
}
