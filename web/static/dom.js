// Elements of a page, made and found.

/** Return the element with an id. */
export const $ = (id) => document.getElementById(id);

/**
 * Make an element: `element("button", { class: "primary", text: "Save", onclick: save }, ...children)`.
 *
 * Properties: `class`, `text`, `dataset`, functions as `on…` listeners; all others are attributes,
 * where true is an empty one, and false, null and undefined none. Children are nodes or texts.
 * Text is never read as HTML.
 */
export function element(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** Make an SVG element, as `element` does. */
export function svg(name, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

/** Make a button that does something: `button("Save", save, { class: "primary" })`. */
export function button(text, onclick, properties = {}) {
  return element("button", { type: "button", text, onclick, ...properties });
}

function filled(made, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (typeof value === "function") made.addEventListener(name.replace(/^on/, ""), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replace the entries of a <dl class="facts"> by terms and their texts. */
export function showFacts(list, entries) {
  const rows = Object.entries(entries).map(([name, value]) =>
    element("div", {}, element("dt", { text: name }), element("dd", {}, value)),
  );
  list.replaceChildren(...rows);
}

/** Set a text only if it differs, so that screen readers hear changes only. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
