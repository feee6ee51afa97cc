// Elements, and text in them: every string that is shown passes here, and the gate of text.js. Nothing is markup.

import { printable } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a string becomes text, `null` nothing, a function a listener. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same, of a drawing. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** A sign of the page's own, by its name. */
export function icon(name) {
  const use = drawn("use", { href: `#icon-${name}` });
  return drawn("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, use);
}

/** Put these in the place of all that an element holds. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((one) => one !== null).map(node));
}

export function byId(id) {
  return document.getElementById(id);
}

/** Have the browser save a text as a file. */
export function save(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null)
      made.setAttribute(name, typeof value === "string" ? printable(value) : String(value));
  }
  made.append(
    ...children
      .flat()
      .filter((one) => one !== null && one !== undefined)
      .map(node),
  );
  return made;
}

function node(one) {
  return typeof one === "string" ? document.createTextNode(printable(one)) : one;
}
