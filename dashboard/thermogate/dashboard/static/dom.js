// Small helpers to build the page. Text goes in as text only: names and sentences come from outside.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/**
 * A new element. `props` are properties (`className`, `type`, `onclick`), except `data` (data
 * attributes) and `attrs` (attributes). Children are elements or texts; null and false are left out.
 */
export function el(tag, props = {}, ...children) {
  const { data = {}, attrs = {}, ...rest } = props;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(attrs)) made.setAttribute(name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return made;
}

/** One of the symbols at the top of the page; it is decoration, so a word must stand beside it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Set a text only when it is another one, so that nothing is laid out again for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set (or with null remove) an attribute only when it changes. */
export function setAttr(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** A group of radio buttons in a fieldset: `options` are [value, label, title]. */
export function segments(fieldset, name, options, chosen, onChoose) {
  for (const [value, label, title] of options) {
    const input = el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onChoose(value) });
    fieldset.append(el("label", { title: title ?? "" }, input, el("span", {}, label)));
  }
}
